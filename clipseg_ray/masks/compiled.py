"""How this room compiles to machine code: one decorator and the few instructions that numba has no name for."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function`` with numba: GIL released, IEEE arithmetic, machine code kept between processes.

    Where no cache folder can be written (a read-only container without a home), it is compiled in each process.
    A kernel calls only kernels of its own module: numba's cache does not notice changes in another file.
    """
    try:
        return njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # numba's "no locator available"
        return njit(nogil=True, error_model="numpy")(function)


def _instruction(generator: Callable[..., Any]) -> Any:
    """numba's ``intrinsic``, to type checkers a function without the typing context."""
    return intrinsic(generator)


def _built(signature: Any, build: Callable[..., Any]) -> Any:
    """What an intrinsic returns: its signature, and what writes ``build(builder, *arguments)`` into the code."""
    return signature, lambda context, builder, signature, arguments: build(builder, *arguments)


@_instruction
def fma32(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """a·b + c in float32, rounded once."""
    return _built(
        types.float32(types.float32, types.float32, types.float32), lambda builder, a, b, c: builder.fma(a, b, c)
    )


@_instruction
def trailing_zeros(typing_context: Any, word: Any) -> Any:
    """Index of the lowest set bit of a uint64 that is not 0."""

    return _built(types.int64(types.uint64), lambda builder, word: builder.cttz(word, ir.Constant(ir.IntType(1), 1)))


@_instruction
def as_float32(typing_context: Any, bits: Any) -> Any:
    """The float32 with these 32 bits."""

    return _built(types.float32(types.int32), lambda builder, bits: builder.bitcast(bits, ir.FloatType()))


@_instruction
def as_int32(typing_context: Any, number: Any) -> Any:
    """The 32 bits of a float32."""

    return _built(types.int32(types.float32), lambda builder, number: builder.bitcast(number, ir.IntType(32)))


def _choose(comparison: str) -> Any:
    flags = ("nnan", "nsz")  # what lets a loop of it become a vector maximum

    return _built(
        types.float32(types.float32, types.float32),
        lambda builder, a, b: builder.select(builder.fcmp_ordered(comparison, a, b, flags=flags), a, b, flags=flags),
    )


@_instruction
def greater(typing_context: Any, a: Any, b: Any) -> Any:
    """The greater of two float32; anything if either is NaN."""
    return _choose(">")


@_instruction
def lesser(typing_context: Any, a: Any, b: Any) -> Any:
    """The lesser of two float32; anything if either is NaN."""
    return _choose("<")


@_instruction
def above64(typing_context: Any, values: Any, start: Any, limit: Any) -> Any:
    """uint64 whose bit j says ``values[start + j] > limit``, for j in 0..63 (float32, contiguous, in bounds)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        lanes = ir.VectorType(ir.FloatType(), 64)
        pointer = builder.bitcast(builder.gep(array.data, [arguments[1]]), lanes.as_pointer())
        loaded = builder.load(pointer, align=4, typ=lanes)
        one_lane = builder.insert_element(
            ir.Constant(lanes, ir.Undefined), arguments[2], ir.Constant(ir.IntType(32), 0)
        )
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64)
        limits = builder.shuffle_vector(one_lane, ir.Constant(lanes, ir.Undefined), zeros)
        return builder.bitcast(builder.fcmp_ordered(">", loaded, limits), ir.IntType(64))

    return types.uint64(values, types.int64, types.float32), generate
