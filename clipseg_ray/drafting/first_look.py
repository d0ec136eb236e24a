"""What an input shows at first sight: its format, how much it is, how large a few images are, what comes with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from clipseg_ray.addresses import below, is_http, without_query
from clipseg_ray.boundary import Boundary
from clipseg_ray.drafting import fields
from clipseg_ray.errors import UserError, brief
from clipseg_ray.pixels.opening import ImageError, opened
from clipseg_ray.sources import parquet
from clipseg_ray.sources.base import Member, Sample, Shard, Source
from clipseg_ray.sources.formats import SOURCES, source_of
from clipseg_ray.sources.manifest import Manifest
from clipseg_ray.sources.matching import Found, match
from clipseg_ray.sources.parquet import Parquet
from clipseg_ray.storage import Store, plain_errors

FIRST_PAGE = 10_000
"""Names of a folder that are looked at, at most."""
OVER_HTTP = 200
"""The same over HTTP, where an index page gives no sizes and each name is asked for."""
FEW = 8
"""Images that are read."""


@dataclass(frozen=True, kw_only=True)
class FirstLook:
    """What was seen of an input.

    ``url``: as it was given. ``root``: the folder above what it names, or itself. ``format``: see ``input.format``.
    ``image_field``: what has to be set for the images to be found, else None. ``paths``: of the objects of that format,
    as far as they were listed. ``amount``, ``sizes``: in words. ``beside``: objects of other kinds by ending.
    ``phrases``, ``ids``: fields that may be asked as phrases, or taken as ids, with an example each.
    """

    url: str
    root: str
    format: str
    image_field: str | None
    paths: tuple[str, ...]
    amount: str
    sizes: str
    beside: dict[str, int]
    phrases: tuple[tuple[str, str], ...]
    ids: tuple[tuple[str, str], ...]


def look(url: str) -> FirstLook:
    """Look at an input: a listing, or its first page, and a few images. Raises UserError where nothing can be read."""
    page = OVER_HTTP if is_http(url) else FIRST_PAGE
    found = match(url, page)
    ways = _ways(found)
    if not ways:
        names = ", ".join(f"{count} × {ending}" for ending, count in _endings(found, ()).items())
        raise UserError(f"{url}: no name there has the ending of a format ({', '.join(SOURCES)}); found {names}")
    refused: list[UserError] = []
    for name in ways:
        try:
            return _read(url, found, name, whole=len(found.objects) < page)
        except UserError as error:
            refused.append(error)
    raise refused[0]


def _ways(found: Found) -> list[str]:
    """The formats that the names may be, that of most of them first; a Parquet file may be a manifest too."""
    counts = {name: len(_of_format(found, name)) for name in SOURCES}
    ways = [name for name in sorted(counts, key=lambda name: -counts[name]) if counts[name]]
    return [*ways, Manifest.name] if Parquet.name in ways and Manifest.name not in ways else ways


def _of_format(found: Found, name: str, *, further: bool = False) -> list[Member]:
    kind = SOURCES[name]
    endings = kind.endings + (kind.further_endings if further else ())
    return [
        Member(below(url, found.root), entry.size, entry.etag)
        for url, entry in found.objects
        if without_query(url).lower().endswith(endings)
    ]


def _read(url: str, found: Found, name: str, *, whole: bool) -> FirstLook:
    objects = sorted(_of_format(found, name, further=name == Manifest.name), key=lambda member: member.path)
    source, image_field = _source(url, found, name, objects[0])
    with plain_errors(url):
        members = source.members(objects)
    if not members:
        raise UserError(f"{url}: no image is named in it")
    shard = _shard(source, members)
    samples, fault = _samples(source, shard)
    return FirstLook(
        url=url,
        root=found.root,
        format=name,
        image_field=image_field,
        paths=tuple(member.path for member in objects),
        amount=_amount(source, shard, members, samples, whole=whole),
        sizes=_sizes(samples, fault),
        beside=_endings(found, {member.path for member in objects}),
        phrases=fields.phrases([sample.fields for sample in samples]),
        ids=() if source.slices and name != Manifest.name else fields.ids([sample.fields for sample in samples]),
    )


def _source(url: str, found: Found, name: str, first: Member) -> tuple[Source, str | None]:
    """The source, and the column of images where it has to be told: the only one of bytes, under a name of its own."""
    boundary = Boundary.of_input([url], ())
    source = source_of(name, found.root, boundary=boundary)
    if name != Parquet.name:
        return source, None
    try:
        with plain_errors(url), Store(found.root).open(first.path) as file:
            columns = parquet.image_columns(pq.ParquetFile(file).schema_arrow)
    except pa.ArrowException:  # the sample that stands for a broken file says so
        return source, None
    if len(columns) != 1 or columns[0] in parquet.IMAGE_COLUMNS:
        return source, None
    return source_of(name, found.root, image_field=columns[0], boundary=boundary), columns[0]


def _shard(source: Source, members: Sequence[Member]) -> Shard:
    """A few images from all over a folder or manifest, or the first shard that is not empty."""
    if not source.slices:
        return Shard.of_object(next((member for member in members if member.size), members[0]))
    step = max(1, len(members) // FEW)
    return Shard.of_slice(members[::step][:FEW])


def _samples(source: Source, shard: Shard) -> tuple[list[Sample], str | None]:
    """The first few, and what ended them early, in a line."""
    samples: list[Sample] = []
    try:
        for sample in islice(source.samples(shard), FEW):
            samples.append(sample)
    except UserError:
        raise
    except Exception as error:  # whatever storage and formats raise: a run will meet it too, and say it at length
        return samples, brief(error)
    return samples, None


def _amount(source: Source, shard: Shard, members: Sequence[Member], samples: Sequence[Sample], *, whole: bool) -> str:
    least = "" if whole else "at least "
    size = sum(member.size for member in members)
    bytes_ = f", {_bytes(size)}" if size else ""
    if source.slices:
        return f"{least}{len(members):,} images{bytes_}"
    if len(samples) < FEW and len(members) == 1:
        images = f"{len(samples)} images"
    elif any(sample.image for sample in samples):
        images = f"about {round(source.estimate(shard, samples) * size / max(shard.size, 1)):,} images"
    else:
        images = "images nobody has counted"
    return f"{least}{len(members):,} {source.name} file(s){bytes_}, {images}"


def _bytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB" if size >= 1e6 else f"{size / 1e3:.3g} kB"


def _sizes(samples: Sequence[Sample], fault: str | None) -> str:
    """How large the images are that could be opened, or why none could."""
    seen, faults = [], [sample.error or sample.status for sample in samples if sample.image is None]
    faults += [fault] if fault else []
    for sample in samples:
        if sample.image is not None:
            try:
                with opened(sample.image) as image:
                    seen.append((image.width * image.height, f"{image.width}×{image.height}", str(image.format)))
            except ImageError as error:
                faults.append(f"{sample.key}: {error}")
    if not seen:
        return f"no image could be opened: {faults[0]}" if faults else "no image was found"
    smallest, largest = min(seen)[1], max(seen)[1]
    across = smallest if smallest == largest else f"{smallest} to {largest}"
    rest = f"; not opened: {faults[0]}" if faults else ""
    return f"{len(seen)} looked at: {across} pixels, {' and '.join(sorted({kind for *_, kind in seen}))}{rest}"


def _endings(found: Found, without: Collection[str]) -> dict[str, int]:
    """How many objects there are by ending, most first, but those ``without``."""

    def others() -> Iterator[str]:
        above = f"{found.root.rstrip('/')}/"
        for url, _ in found.objects:
            if url.removeprefix(above) not in without:
                yield PurePosixPath(without_query(url)).suffix.lower() or "names without ending"

    return dict(Counter(others()).most_common(8))
