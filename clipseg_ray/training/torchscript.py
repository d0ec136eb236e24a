"""The tensors of a TorchScript archive, read as data: none of its code is run, nor could it name any of ours.

An archive is a ZIP file of ``<name>/data.pkl``, a pickle of the module tree, and ``<name>/data/<key>``, the bytes of
each storage. The pickle is read with every name in it bound to something inert, or refused. What ``torch.save`` writes
of a state is read as well.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from clipseg_ray.errors import UserError, brief

_STORAGES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
}
_LISTS = {"build_intlist", "build_doublelist", "build_boollist", "build_tensorlist"}


class _Module:
    """A module, or any other object of the archive: its attributes."""


def read_torchscript(data: bytes, source: str) -> dict[str, Tensor]:
    """Every tensor of an archive by its path (``visual.conv1.weight``), on the CPU, as it was saved.

    Raises UserError for what is no such archive, and for one that names anything but tensors and its own modules.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            pickled = next(name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
            reader = _Unpickler(archive, pickled.removesuffix(".pkl"), io.BytesIO(archive.read(pickled)))
            return dict(_tensors(reader.load(), ""))
    except StopIteration:
        raise UserError(f"{source}: no data.pkl in it, so it is no TorchScript archive; see --clip") from None
    except Exception as error:  # the bytes may be anything, and each layer has its own exceptions
        raise UserError(f"{source}: no TorchScript archive of plain tensors ({brief(error)})") from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, folder: str, file: io.BytesIO) -> None:
        super().__init__(file)
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle" and name in _LISTS:
            return list
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, _ = pid
        content = bytearray(self._archive.read(f"{self._folder}/{key}"))
        return torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """A tensor over its storage. torch refuses one that reaches beyond it."""
    return torch.as_strided(storage, size, stride, offset)


def _tensors(held: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in (held if isinstance(held, dict) else vars(held)).items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Module):
            yield from _tensors(value, f"{prefix}{name}.")
