"""What a run says last beside its numbers: what it passed over, and what nobody expects of a run that went well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from clipseg_ray.errors import nearest
from clipseg_ray.sources import passed_over
from clipseg_ray.sources.base import Shard, Source

_LOUD = "WARNING: "


def remarks(passed: Mapping[str, int], further: int, statuses: Mapping[str, int], url: str) -> list[str]:
    """A line each. ``passed``: what the listing passed over; ``further``: images in tars that were not taken;
    ``statuses``: images by status; ``url``: the dataset's."""
    said = [*passed_over.lines(passed, further)]
    images, good = sum(statuses.values()), statuses.get("ok", 0)
    if images > 2 * good:
        bad = sorted(((count, status) for status, count in statuses.items() if status != "ok"), reverse=True)
        counts = ", ".join(f"{count} {status}" for count, status in bad)
        query = "SELECT status, error, count(*) FROM images GROUP BY ALL ORDER BY 3 DESC"
        said.append(
            f"{_LOUD}most images have no masks: {images - good} of {images} ({counts}). Why: clipseg-ray query {url} "
            f'"{query}"'
        )
    return said


def without_phrases(field: str, source: Source, shards: Iterable[Shard]) -> str:
    """The line that says no image came with a phrase, and which fields the first image has."""
    fields: list[str] = []
    try:
        fields = [name for shard in shards for name in next(iter(source.samples(shard))).fields]
    except Exception:  # a hint only: what is wrong with a shard is said elsewhere
        fields = []
    near = nearest(field, fields)
    hint = f"the first image has {', '.join(fields) or 'no field at all'}"
    hint += f"; did you mean {near[0]}?" if near else ""
    return f"{_LOUD}queries.from: no image has a phrase in its field {field!r}, so none was asked for one; {hint}"
