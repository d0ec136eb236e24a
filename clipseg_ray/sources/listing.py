"""Which objects are the input, and the shards they are frozen into."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from clipseg_ray.addresses import absolute, below, located, without_query
from clipseg_ray.errors import UserError
from clipseg_ray.pixels.kinds import has_ending
from clipseg_ray.sources import passed_over
from clipseg_ray.sources.base import Member, Shard, Source
from clipseg_ray.sources.chunking import Chunking
from clipseg_ray.sources.formats import SOURCES
from clipseg_ray.sources.matching import match
from clipseg_ray.storage import plain_errors
from clipseg_ray.tables import parquet_bytes, parquet_table

SAMPLED_SHARDS = 32
"""Among how many shards ``input.sample`` spreads, as long as they hold enough."""

_SHOWN = 5
_EVERY_ENDING = tuple(ending for kind in SOURCES.values() for ending in kind.endings + kind.further_endings)

_MEMBER = pa.struct(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("fields", pa.string()),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("shard_id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("take", pa.int64()),
        pa.field("chunk_images", pa.int64(), nullable=False),
        pa.field("chunk_bytes", pa.int64(), nullable=False),
        pa.field("members", pa.list_(pa.field("element", _MEMBER, nullable=False))),
    ]
)
"""Of ``_inputs/*.parquet``: the fields of ``Shard``; ``members`` is null for an object that is a shard itself."""


@dataclass(frozen=True)
class Listing:
    """The input as it lies in storage: objects relative to ``root`` (a URL), sorted by path.

    ``passed``: what lies there too and is not read, by kind (see ``passed_over``).
    """

    root: str
    format: str
    objects: tuple[Member, ...]
    passed: Mapping[str, int] = field(default_factory=dict)


def discover(urls: Sequence[str], format: str | None, root: str | None = None) -> Listing:
    """List the objects that the input URLs name.

    A URL is an object, a folder, a glob (``*``, ``**``, ``?``, ``[]``) or has braces (``{000..123}``, ``{a,b}``). The
    root is the longest folder common to all, or ``root`` as an earlier run recorded it; objects elsewhere are listed
    under their full URL. The format is that of the names where it is not given.

    Raises UserError for a URL that matches nothing, names of several formats or of none, and storage errors.
    """
    found = [match(url) for url in urls]
    base = absolute(root).rstrip("/") or "/" if root else _common([each.root for each in found])
    objects: dict[str, Member] = {}
    for each in found:
        for url, entry in each.objects:
            path = below(url, base)
            objects.setdefault(path, Member(path, entry.size, entry.etag))
    listed = sorted(objects)
    if not listed:
        counts = sum((each.left_out.counts(_EVERY_ENDING) for each in found), Counter())
        there = passed_over.text(counts) or "hidden names alone"
        raise UserError(f"{_all(urls)}: nothing there can be read; found {there}")
    names = {path: without_query(located(path, base)) for path in listed}
    chosen = format or _format_of(list(names.values()), urls)
    named = {below(url, base) for each in found if each.named for url, _ in each.objects}
    endings = SOURCES[chosen].endings + SOURCES[chosen].further_endings
    kept = [path for path in listed if path in named or has_ending(names[path], endings)]
    passed = passed_over.other(names[path] for path in objects.keys() - kept)
    for each in found:
        passed += each.left_out.counts(endings)
    if not kept:
        there = passed_over.text(passed) or "nothing"
        raise UserError(
            f"{_all(urls)}: no name there ends in {', '.join(endings)}, as input.format: {chosen} has it; found {there}"
        )
    return Listing(base, chosen, tuple(objects[path] for path in kept), dict(passed))


def append_shards(
    frozen: Sequence[Shard],
    listing: Listing,
    source: Source,
    *,
    slice_images: int,
    chunking: Chunking = Chunking(),  # noqa: B008 (frozen)
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
) -> list[Shard]:
    """The shards a listing adds to the frozen ones; these are never cut again.

    For formats of single images the unseen ones are cut into slices of at most ``slice_images``. ``chunking``: the
    most that a chunk may hold; small shards get smaller ones. A frozen path that is no longer listed is left alone.
    ``limit`` takes the first so many samples in listing order. ``sample`` takes so many by ``seed``: of single images
    uniformly; of shards the first ones of each of up to ``SAMPLED_SHARDS`` drawn shards (of more only where these hold
    too few). Both settle the input once: with frozen shards they add nothing.

    Raises UserError when a known path has another size or etag.
    """
    if limit is not None and sample is not None:
        raise UserError("input.limit and input.sample: give one of them")
    members = source.members(listing.objects)
    known = {source.identity(member): member for shard in frozen for member in _members_of(shard)}
    _refuse_changed(known, members, source)
    if frozen and (limit is not None or sample is not None):
        return []
    new = [member for member in members if source.identity(member) not in known]
    if source.slices:
        if limit is not None:
            new = new[:limit]
        elif sample is not None and sample < len(new):
            new = [new[index] for index in sorted(random.Random(seed).sample(range(len(new)), sample))]
        shards = [Shard.of_slice(new[start : start + slice_images]) for start in range(0, len(new), slice_images)]
    elif limit is not None:
        shards = _first(new, source, limit)
    elif sample is not None:
        shards = _drawn(new, source, sample=sample, seed=seed)
    else:
        shards = [Shard.of_object(member) for member in new]
    return [shard.cut(chunking) for shard in shards]


def to_parquet(shards: Sequence[Shard]) -> bytes:
    """The frozen listing as a Parquet file of ``SCHEMA``."""
    rows = [
        {
            **{name: getattr(shard, name) for name in ("shard_id", "path", "size", "etag", "take")},
            "chunk_images": shard.chunking.images,
            "chunk_bytes": shard.chunking.bytes,
            "members": None if shard.members is None else [vars(member) for member in shard.members],
        }
        for shard in shards
    ]
    return parquet_bytes(pa.Table.from_pylist(rows, schema=SCHEMA))


def from_parquet(data: bytes, name: str) -> list[Shard]:
    """The shards that ``to_parquet`` wrote to the file called ``name``, in order. Raises UserError that names it."""
    shards = []
    for row in parquet_table(data, name, SCHEMA.names).to_pylist():
        members = row.pop("members")
        chunking = Chunking(row.pop("chunk_images"), row.pop("chunk_bytes"))
        held = None if members is None else tuple(Member(**each) for each in members)
        shards.append(Shard(**row, members=held, chunking=chunking))
    return shards


def _common(roots: Sequence[str]) -> str:
    """The longest folder above all roots; the first root where nothing but a scheme is common."""
    parts = [root.split("/") for root in roots]
    common = []
    for names in zip(*parts, strict=False):
        if len(set(names)) > 1:
            break
        common.append(names[0])
    folder = "/".join(common)
    if not common or "://" in roots[0]:
        return folder if folder.count("/") >= 2 and not folder.endswith("//") else roots[0]
    return folder or "/"


def _format_of(names: Sequence[str], urls: Sequence[str]) -> str:
    counts = {kind: sum(has_ending(name, kind.endings) for name in names) for kind in SOURCES.values()}
    present = [kind for kind, count in counts.items() if count]
    if len(present) == 1 and not (present[0].one_object and counts[present[0]] > 1):
        return present[0].name
    hint = f"found {passed_over.text(passed_over.other(names))}; set input.format to one of {', '.join(SOURCES)}"
    if not present:
        raise UserError(f"{_all(urls)}: no name there has the ending of a format; {hint}")
    raise UserError(f"{_all(urls)}: the names are not of a single format; {hint}")


def _all(urls: Sequence[str]) -> str:
    return ", ".join(urls[:3]) + (f" and {len(urls) - 3} more" if len(urls) > 3 else "")


def _members_of(shard: Shard) -> Sequence[Member]:
    return (Member(shard.path, shard.size, shard.etag),) if shard.members is None else shard.members


def _refuse_changed(known: dict[str, Member], members: Sequence[Member], source: Source) -> None:
    changed = []
    for member in members:
        before = known.get(source.identity(member))
        if before is not None and (before.path, before.size, before.etag) != (member.path, member.size, member.etag):
            now = f"now {member.size} bytes, etag {member.etag}"
            was = f"was {before.size} bytes, etag {before.etag}"
            changed.append(f"{before.path}: {was}, {now if before.path == member.path else f'now {member.path}'}")
    if changed:
        shown = "; ".join(changed[:_SHOWN]) + ("; …" if len(changed) > _SHOWN else "")
        raise UserError(
            f"the input changed since this output was begun, {len(changed)} object{'s' * (len(changed) > 1)}: {shown}. "
            "Put the former bytes back, give changed ones a new name, or set another output.url"
        )


def _first(members: Sequence[Member], source: Source, limit: int) -> list[Shard]:
    shards = []
    left = limit
    for member in members:
        if left == 0:
            break
        shard = Shard.of_object(member)
        count = _count(source, member, left + 1)
        shards.append(shard if count <= left else Shard.of_object(member, left))
        left -= min(count, left)
    return shards


def _count(source: Source, member: Member, at_most: int) -> int:
    with plain_errors(source.url_of(member.path)):
        return source.count(Shard.of_object(member), at_most)


def _drawn(members: Sequence[Member], source: Source, *, sample: int, seed: int) -> list[Shard]:
    order = random.Random(seed).sample(range(len(members)), len(members))
    share = min(SAMPLED_SHARDS, len(members), sample)
    taken: dict[int, int] = {}
    left = sample
    for place, index in enumerate(order):
        if left == 0:
            break
        quota = -(-left // max(share - place, 1))
        taken[index] = _count(source, members[index], quota)
        left -= taken[index]
    for index in taken:  # shards drawn early may hold what later ones lacked
        if left == 0:
            break
        more = _count(source, members[index], taken[index] + left)
        left -= more - taken[index]
        taken[index] = more
    return [Shard.of_object(members[index], taken[index]) for index in sorted(taken) if taken[index]]
