"""JSON that people send: no key twice in an object, numbers as they were written."""

from __future__ import annotations

import json
from typing import Any

from clipseg_ray.written_numbers import written


def load(text: str) -> Any:
    """The value. Raises ValueError, worded for a person, for what is no JSON or has a key twice."""
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("its brackets are nested too deep") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice; keep one")
    return found


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=lambda text: written(int(text), text),
    parse_float=lambda text: written(float(text), text),
)
