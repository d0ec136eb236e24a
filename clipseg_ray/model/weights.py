"""A checkpoint's tensors: read from its folder, seen by name, told from others by a hash."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from safetensors import safe_open

from clipseg_ray.errors import UserError

if TYPE_CHECKING:  # loaded with the tensors: what a folder holds is known without
    import torch

FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where a folder may have its weights; of several the first counts. An index names the files of weights in pieces."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Weights:
    """Tensors by name, all or those under a prefix: ``weights.under("decoder")["film_mul.weight"]``."""

    tensors: Mapping[str, torch.Tensor]
    prefix: str = ""

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[self.prefix + name]

    def under(self, name: str | int) -> Weights:
        """The tensors whose names go on from ``name.``."""
        return Weights(self.tensors, f"{self.prefix}{name}.")

    def sha256(self) -> str:
        """Hex digest over names, dtypes, shapes and bytes, in order of name."""
        import torch

        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


def read_weights(folder: Path, shapes: Mapping[str, Shape]) -> Weights:
    """The tensors of ``shapes`` in float32, from whichever of ``FILES`` is there; what else is in the files is left.

    Raises UserError naming the first tensor that is missing or of another shape.
    """
    tensors: dict[str, torch.Tensor] = {}
    for path in _files(folder):
        tensors |= _safetensors(path, shapes) if path.suffix == ".safetensors" else _pickled(path, shapes)
    if missing := sorted(shapes.keys() - tensors.keys()):
        raise UserError(
            f"{folder}: the weights lack {len(missing)} tensors of its config.json (first: {missing[0]}); "
            "save weights and configuration together with save_pretrained"
        )
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise UserError(
                f"{folder}: the weights' {name} is {list(tensors[name].shape)} and by its config.json {list(shape)}; "
                "save weights and configuration together with save_pretrained"
            )
    return Weights({name: tensor.float() for name, tensor in tensors.items()})


def pieces(index: Path) -> list[str]:
    """The names of the files that an index speaks of. Raises UserError for one outside its folder."""
    names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    if strange := [name for name in names if Path(name).name != name]:
        raise UserError(f"{index.name}: weight_map names {strange[0]!r}; it must be a file beside it")
    return names


def _files(folder: Path) -> list[Path]:
    found = next(path for name in FILES if (path := folder / name).exists())
    return [folder / name for name in pieces(found)] if found.suffix == ".json" else [found]


def _safetensors(path: Path, wanted: Iterable[str]) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in sorted(set(wanted) & set(file.keys()))}


def _pickled(path: Path, wanted: Iterable[str]) -> dict[str, torch.Tensor]:
    loaded = unpickled(path, str(path))
    return {name: loaded[name] for name in wanted if name in loaded}


def unpickled(file: Path | IO[bytes], name: str) -> dict[str, Any]:
    """What torch.save wrote into a file, tensors and plain values by name; nothing in it is run.

    ``name``: what the file is called in errors. Raises UserError for one that holds anything else.
    """
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a strange pickle makes torch wonder at
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        # torch's own words end in the advice to load it all the same.
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise UserError(
            f"{name}: not loaded, it is no file of tensors alone"
            + (f": it asks for {asked[1]}, and to load that may run any code" if asked else "")
            + "; ask whoever made it for the weights as safetensors (save_pretrained)"
        ) from error
    if not isinstance(loaded, dict):
        raise UserError(f"{name}: it holds a {type(loaded).__name__}, not tensors by name")
    return loaded
