"""Numbers and strings as Arrow arrays in Arrow's own memory.

``pa.array`` takes a numpy array as it is. What is kept until its chunk is done would then lie between the buffers of
the logits in malloc's heap, whose gaps fit no further logits: an actor grew by 3 MB with every block of masks.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

BBOX = pa.struct([pa.field(name, pa.int32(), nullable=False) for name in ("x", "y", "w", "h")])


def array(values: np.ndarray) -> pa.Array:
    """The numbers of ``values``, copied; its type follows from the dtype."""
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, _buffer(values)])


def struct(kind: pa.StructType, values_pk: np.ndarray, null_p: np.ndarray | None = None) -> pa.Array:
    """The columns of [P, K] as the K fields of a struct [P], copied; null where ``null_p``."""
    fields = [array(values_pk[:, k]) for k in range(kind.num_fields)]
    return pa.StructArray.from_arrays(fields, fields=list(kind), mask=None if null_p is None else pa.array(null_p))


def string_array(offsets: np.ndarray, characters: np.ndarray) -> pa.Array:
    """A string array of these characters (uint8), P + 1 offsets (int64) apart, copied."""
    if offsets[-1] >= 2**31:
        raise OverflowError("counts of one batch reach 2 GiB; encode fewer masks at a time")
    buffers = [None, _buffer(offsets.astype(np.int32)), _buffer(characters)]
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)


def lists(lengths: np.ndarray, values: pa.Array, null_p: np.ndarray | None = None) -> pa.ListArray:
    """The values as lists of these lengths (int64 [P]); null where ``null_p``, which must be of length 0."""
    if len(values) >= 2**31:
        raise OverflowError("lists of one batch reach 2^31 values; work on fewer masks at a time")
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    mask = pa.array(null_p) if null_p is not None and null_p.any() else None
    return pa.ListArray.from_arrays(array(offsets), values, mask=mask)


def _buffer(values: np.ndarray) -> pa.Buffer:
    buffer = pa.allocate_buffer(values.nbytes)
    np.frombuffer(buffer, values.dtype)[:] = values
    return buffer
