"""Tensors of the simulated GPU (see `simulated_cuda`) and the memory they lie in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_flatten, tree_map_only

from tests.model.simulated_streams import Stream, overwrite

if TYPE_CHECKING:
    from tests.model.simulated_cuda import SimulatedCuda


class Memory:
    """A block of the caching allocator: freed when no tensor is left that lies in it."""

    def __init__(self, simulator: SimulatedCuda, base: torch.Tensor, stream: Stream) -> None:
        self.simulator, self.base, self.stream = simulator, base, stream
        self.graph = stream.capture
        self.used_on: set[Stream] = set()
        self.is_allocated = False
        if self.graph is not None:
            self.graph.buffers.append(base)
        simulator.allocate(self)

    def __del__(self) -> None:
        self.simulator.free(self)


class DeviceTensor(torch.Tensor):
    """Looks like a tensor on ``cuda:n``."""

    host: torch.Tensor
    memory: Memory

    @staticmethod
    def __new__(cls, host: torch.Tensor, memory: Memory) -> DeviceTensor:
        # "meta" is what PyTorch's C++ sees: a build for CPUs has nothing to say about "cuda".
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device="meta",
        )
        made.host, made.memory = host, memory
        return made

    device = property(lambda self: self.memory.stream.device)
    is_cuda = property(lambda self: True)
    __torch_function__ = torch._C._disabled_torch_function_impl

    def record_stream(self, stream: Stream) -> None:
        self.memory.used_on.add(stream)

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func}: the simulation is over")


_known_shapes: dict[Any, Any] = {}


def shapes_of(func: Any, args: Any, kwargs: Any) -> Any:
    """What `func` returns, as meta tensors; remembered, since finding out takes longer than doing it."""

    def description(leaf: Any) -> Any:
        return (leaf.shape, leaf.stride(), leaf.dtype) if isinstance(leaf, torch.Tensor) else leaf

    leaves, structure = tree_flatten((args, kwargs))
    key = (func, str(structure), tuple(str(description(leaf)) for leaf in leaves))
    if key not in _known_shapes:
        meta_args, meta_kwargs = tree_map_only(torch.Tensor, lambda host: host.to("meta"), (args, kwargs))
        if "device" in meta_kwargs:
            meta_kwargs["device"] = torch.device("meta")
        _known_shapes[key] = func(*meta_args, **meta_kwargs)
    return _known_shapes[key]


def unwritten(meta: torch.Tensor) -> torch.Tensor:
    made = torch.empty_strided(meta.shape, meta.stride(), dtype=meta.dtype)
    overwrite(made)
    return made
