"""Tensors under other names: from PyTorch's own attention and the authors' modules to transformers' names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

Rules = Sequence[tuple[str, str]]
"""Patterns of whole names, and what they become; a tensor whose new name is empty is left out."""


def renamed(tensors: Mapping[str, Tensor], rules: Rules) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors by their new names, and the names that no rule is for.

    A new name that ends in ``in_proj.weight`` or ``in_proj.bias`` stands for three: query, key and value, which
    PyTorch's attention keeps one above the other.
    """
    found: dict[str, Tensor] = {}
    unknown = []
    for name, tensor in tensors.items():
        matches = ((re.fullmatch(pattern, name), new) for pattern, new in rules)
        match, new = next(((match, new) for match, new in matches if match), (None, ""))
        if match is None:
            unknown.append(name)
        elif new:
            found |= _split(match.expand(new), tensor)
    return found, unknown


def _split(name: str, tensor: Tensor) -> dict[str, Tensor]:
    stem, joined, kind = name.rpartition("in_proj.")
    if not joined:
        return {name: tensor}
    return {f"{stem}{letter}_proj.{kind}": part for letter, part in zip("qkv", tensor.chunk(3), strict=True)}
