"""What lies in the input and is not read, counted by kind."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from clipseg_ray.pixels import kinds
from clipseg_ray.sources.left_out import DANGLING, HIDDEN

FURTHER = "further images in tars"
_ONE = {DANGLING: "broken link", HIDDEN: "hidden file", FURTHER: "further image in a tar"}
_NO_ENDING = "names without ending"
_SHOWN = 8


def other(paths: Iterable[str]) -> Counter[str]:
    """The paths that are of no kind that is read, by ending."""
    return Counter(posixpath.splitext(path)[1].lower() or _NO_ENDING for path in paths)


def text(counts: Mapping[str, int]) -> str:
    """``3 × .heic, 3 broken links``, the most first; empty where nothing was passed over."""
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    parts = [_part(label, count) for label, count in ordered[:_SHOWN]]
    if len(ordered) > _SHOWN:
        parts.append(f"{sum(count for _, count in ordered[_SHOWN:])} of {len(ordered) - _SHOWN} more kinds")
    if not kinds.HEIF.is_read and any(f".{ending}" in counts for ending in kinds.HEIF.endings):
        parts[-1] += f" ({kinds.HEIF_HINT})"
    if counts.get(FURTHER):
        parts[-1] += " (input.image_field: '*' takes them all)"
    return ", ".join(parts)


def lines(counts: Mapping[str, int], further: int = 0) -> Sequence[str]:
    """The one line that says it; none where nothing was passed over. ``further``: images in tars, as well."""
    found = {**counts, FURTHER: further} if further else counts
    return [f"passed over: {text(found)}"] if found else []


def _part(label: str, count: int) -> str:
    if label.startswith("in "):
        return f"{count} {label}"
    if label.startswith(".") or label == _NO_ENDING:
        return f"{count} × {label}"
    return f"{count} {_ONE[label] if count == 1 else label}"
