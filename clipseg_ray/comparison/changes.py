"""What the two sides were made with, where it is not the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clipseg_ray.comparison.pairing import Pair
from clipseg_ray.comparison.side import Side
from clipseg_ray.redaction import redacted

_SHOWN = 60
_NO_SETTING = {"compute.reason"}
"""What the record says of a setting for a person."""


def said(a: Side, b: Side, pairs: Sequence[Pair]) -> list[str]:
    """A line for each setting and each part of the queries' definitions that differs: ``name: in A → in B``."""
    lines = [f"{key}: {change}" for key, change in _changes(a.record.values(), b.record.values())]
    changed: dict[str, list[str]] = {}
    for pair in pairs:
        for key, change in _changes(a.definitions[pair.a.query_id], b.definitions[pair.b.query_id]):
            changed.setdefault(key, []).append(change)
    for key, found in changed.items():
        kinds = list(dict.fromkeys(found))
        others = f", and {len(kinds) - 1} others" if len(kinds) > 1 else ""
        lines.append(f"{key} of {len(found)} of {len(pairs)} queries: {kinds[0]}{others}")
    return lines


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    before, now = dict(_leaves(before)), dict(_leaves(now))
    for key in dict.fromkeys([*before, *now]):
        if before.get(key) != now.get(key) and key not in _NO_SETTING:
            yield key, f"{_shown(before, key)} → {_shown(now, key)}"


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{name}", inner) for name, inner in _leaves(value))
        else:
            yield key, value


def _shown(values: Mapping[str, Any], key: str) -> str:
    text = redacted(str(values[key])) if key in values else "off"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
