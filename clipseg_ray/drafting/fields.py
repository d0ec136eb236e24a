"""Which fields that come with images hold phrases to ask, and which could be their ids; told by a few examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_PHRASES = (
    "caption",
    "phrase",
    "prompt",
    "sentence",
    "expression",
    "description",
    "text",
    "txt",
    "label",
    "title",
    "query",
)
_IDS = ("id", "uid", "uuid", "image_id", "sha256", "md5", "hash", "key", "__key__", "name", "file_name", "filename")


def phrases(fields: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """Fields of texts or lists of texts, each with an example: those named like captions first, then other prose."""
    found = []
    for name, values in _columns(fields).items():
        cells = [cell for value in values for cell in (value if isinstance(value, list | tuple) else [value])]
        texts = [cell.strip() for cell in cells if isinstance(cell, str) and cell.strip() and "://" not in cell]
        named = [place for place, word in enumerate(_PHRASES) if word in name.casefold()]
        if texts and (named or (len(texts) == len(cells) and all(" " in text for text in texts))):
            found.append((named[0] if named else len(_PHRASES), name, texts[0]))
    return tuple((name, example) for _, name, example in sorted(found))


def ids(fields: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """Fields named like ids that every image has, each with another value; with an example."""
    found = []
    for name, values in _columns(fields).items():
        plain = [str(value) for value in values if isinstance(value, str | int) and not isinstance(value, bool)]
        if name.casefold() in _IDS and len(fields) > 1 and len(set(plain)) == len(fields):
            found.append((_IDS.index(name.casefold()), name, plain[0]))
    return tuple((name, example) for _, name, example in sorted(found))


def _columns(fields: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The values of each field where it has one."""
    columns: dict[str, list[Any]] = {}
    for each in fields:
        for name, value in each.items():
            if value not in (None, "", []):
                columns.setdefault(name, []).append(value)
    return columns
