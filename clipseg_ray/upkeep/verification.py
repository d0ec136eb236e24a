"""Reading a whole dataset back: is everything there, is nothing else, and does every row agree with itself.

report = verify("s3://my-bucket/masks")
print(report.text())
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from clipseg_ray.errors import UserError
from clipseg_ray.results import inputs, layout, reading, record, sets
from clipseg_ray.results import shard_records as shard_records
from clipseg_ray.results.compacted import CompactedFiles
from clipseg_ray.results.completeness import Missing
from clipseg_ray.sources import pairs
from clipseg_ray.sources.base import Shard
from clipseg_ray.storage import Entry, Store, get_all, plain_errors
from clipseg_ray.upkeep import row_checks as rows
from clipseg_ray.upkeep.findings import Findings, Orphan

_READ = (layout.IMAGES, layout.MASKS, layout.QUERIES)
_AT_ONCE = 4
_ATTEMPTS = 3
_LEFTOVER_S = 3600.0
"""A temporary file of this age belongs to no write that still goes on."""


def verify(output: str) -> Findings:
    """Read everything at ``output``. Raises UserError where no dataset is and for storage that cannot be read."""
    store = Store.of(output)
    with plain_errors(store.url):
        made = record.require(store)
        # Listed before claims and records are read: these come before the parts they allow, so that what a run or a
        # compaction adds meanwhile is not listed, and never an orphan.
        listed = list(store.list())
        dataset = _Dataset(store, made, {entry.path: entry.size for entry in listed})
        report = Findings(url=store.url)
        if made.changed:
            report.faults.append(f"{layout.DATASET}: was changed since it was written; its sha256 is another")
        dataset.read_queries(report)
        if "compacted" in made.masks:
            report.remedy = "which a run into the dataset this was compacted from computes; then compact again"
            _read_compacted(dataset, listed, report)
        else:
            parts = dataset.sort(listed, report)
            dataset.find_missing(parts, report)
            dataset.read_parts(parts, report)
        report.faults += dataset.repeated(report)
    return report


def fix(output: str, report: Findings) -> None:
    """Remove the orphans of a report."""
    store = Store.of(output)
    with plain_errors(store.url):
        for orphan in report.orphans:
            store.delete(orphan.path)


class _Dataset:
    """What the records say there should be."""

    def __init__(self, store: Store, made: record.DatasetRecord, sizes: dict[str, int]) -> None:
        self.store = store
        self._sizes = sizes
        self.made = made
        self.sets = {item.name: item for item in sets.read(store)}
        self.shards: dict[str, Shard] = {shard.shard_id: shard for shard in inputs.read(store)[0]}
        self.records = {each.shard_id: each for each in shard_records.read_all(store)}

    def bodies(self, paths: Sequence[str]) -> list[bytes]:
        """Whole files. Raises UserError for one that does not come whole: that says nothing of what is stored."""
        for _ in range(_ATTEMPTS):
            found = get_all([self.store.url_of(path) for path in paths])
            short = [
                (path, len(body)) for path, body in zip(paths, found, strict=True) if len(body) != self._size(path)
            ]
            if not short:
                return found
        path, came = short[0]
        raise UserError(
            f"{self.store.url_of(path)}: {came} bytes came of {self._size(path)} listed, {_ATTEMPTS} times; the "
            "transfer is at fault, or the file changed since: verify again"
        )

    def _size(self, path: str) -> int:
        if path not in self._sizes:
            self._sizes[path] = self.store.entry(path).size
        return self._sizes[path]

    def sort(self, listed: Sequence[Entry], report: Findings) -> dict[tuple[str, int], dict[str, str]]:
        """Every part's path by (shard, chunk) and folder; what is no part goes to the report."""
        parts: dict[tuple[str, int], dict[str, str]] = {}
        folders = {layout.IMAGES, *map(layout.masks_folder, self.sets)}
        for entry in listed:
            folder, _, name = entry.path.rpartition("/")
            place = layout.parse_part_name(name)
            if folder in folders and place is not None and self._listed(*place) and entry.size:
                parts.setdefault(place, {})[folder] = entry.path
            elif self.known(folder, name, entry.path):
                continue
            elif name.endswith(".parquet") and folder.split("/")[0] in _READ:
                why = "of no chunk or prompt set of this dataset, though readers would read it"
                report.orphans.append(Orphan(entry.path, why if entry.size else "without a byte, so no part"))
            elif folder == layout.SHARDS:
                report.orphans.append(Orphan(entry.path, "of no listed shard"))
            else:
                report.unrecognised.append(entry.path)
        report.orphans += _leftovers(self.store)
        return dict(sorted(parts.items()))

    def _listed(self, shard: str, chunk: int) -> bool:
        """Whether the listing has such a chunk, as far as the shard has been read."""
        known = self.records.get(shard)
        return shard in self.shards and (known is None or chunk < len(known.chunks))

    def known(self, folder: str, name: str, path: str) -> bool:
        """Whether a file that is no part is one of the dataset's."""
        if folder == layout.QUERIES:
            return name.removesuffix(".parquet") in self.sets
        if folder == layout.SHARDS:
            parsed = layout.parse_shard_record(name)
            return parsed is not None and parsed[0] in self.shards
        if folder == layout.PAIRS and path != layout.SELECTION:
            return name.removesuffix(".parquet") in self.shards
        if folder in (layout.INPUTS, layout.SETS, layout.RUNS, layout.COMPACT, layout.PAIRS):
            return layout.is_ours(folder, name)
        return path in (layout.DATASET, layout.CARD, layout.SHEET, layout.IDS)

    def find_missing(self, parts: dict[tuple[str, int], dict[str, str]], report: Findings) -> None:
        folders = (layout.IMAGES, *map(layout.masks_folder, self.sets))
        for shard_id, shard in self.shards.items():
            known = self.records.get(shard_id)
            if known is None:
                report.missing.append(Missing(shard.path, shard_id, None, ()))
                continue
            for chunk in range(len(known.chunks)):
                there = parts.get((shard_id, chunk), {})
                if lacking := tuple(folder for folder in folders if folder not in there):
                    report.missing.append(Missing(shard.path, shard_id, chunk, lacking))

    def read_queries(self, report: Findings) -> None:
        for name, item in self.sets.items():
            path = layout.queries_file(name)
            if not self.store.exists(path):
                report.faults.append(f"{path}: missing; a run with the table that made the set writes it again")
                continue
            (body,) = self.bodies([path])
            report.faults += [f"{path}: {fault}" for fault in rows.query_faults(body, item.digests)]

    def pairs_of(self, places: Sequence[tuple[str, int]], report: Findings) -> pa.Table | None:
        """The pairs that the shards of these chunks are, as ``pairs.SCHEMA`` has them; None of a dataset of all, and
        where a file of them is at fault."""
        if "pairs" not in self.made.masks:
            return None
        found: list[pa.Table] = []
        paths = [layout.pairs_file(shard_id) for shard_id in dict.fromkeys(shard_id for shard_id, _ in places)]
        for path in paths:
            try:
                (body,) = self.bodies([path])
                found.append(pairs.from_parquet(body, path))
            except FileNotFoundError:
                report.faults.append(f"{path}: missing; put back the file it was")
            except UserError as error:
                report.faults.append(str(error))
        return pa.concat_tables(found) if len(found) == len(paths) else None

    def read_parts(self, parts: dict[tuple[str, int], dict[str, str]], report: Findings) -> None:
        """Read each chunk's parts together, a few chunks at a time."""
        expected = rows.Expected.of(self.made)
        places = list(parts)
        for start in range(0, len(places), _AT_ONCE):
            near = places[start : start + _AT_ONCE]
            paths = [path for place in near for path in parts[place].values()]
            by_path = dict(zip(paths, self.bodies(paths), strict=True))
            for place in near:
                self._read_chunk(place, parts[place], by_path, expected, report)

    def _read_chunk(
        self,
        place: tuple[str, int],
        paths: dict[str, str],
        bodies: dict[str, bytes],
        expected: rows.Expected,
        report: Findings,
    ) -> None:
        known = self.records.get(place[0])
        samples = None if known is None else known.chunks[place[1]].samples
        images = None
        if layout.IMAGES in paths:
            path = paths[layout.IMAGES]
            images, faults = rows.read_images(bodies[path], expected, place, samples)
            report.faults += [f"{path}: {fault}" for fault in faults]
            report.images += images.num_rows if images is not None else 0
            report.parts += 1
        for name, item in self.sets.items():
            path = paths.get(layout.masks_folder(name), "")
            if path:
                own = None if images is None else [images]
                count, faults = rows.read_masks(bodies[path], expected, own, item, self.pairs_of([place], report))
                report.faults += [f"{path}: {fault}" for fault in faults]
                report.masks += count
                report.parts += 1

    def repeated(self, report: Findings) -> Iterator[str]:
        """Image ids that more than one row of ``images`` has; not asked where parts cannot be read."""
        if report.images and not report.faults and not report.orphans:
            with reading.connect(self.store) as connection:
                found = connection.execute(
                    "SELECT image_id, count(*) FROM images GROUP BY image_id HAVING count(*) > 1 ORDER BY 1 LIMIT 100"
                ).fetchall()
            for image_id, count in found:
                yield f"{layout.IMAGES}: image_id {image_id!r} occurs {count} times; joins on it are ambiguous"
        owners: dict[str, str] = {}
        for name, item in self.sets.items():
            for query in item.digests:
                if owners.setdefault(query, name) != name:
                    yield f"{layout.SETS}: query {query!r} is in {owners[query]} and in {name}"


def _read_compacted(dataset: _Dataset, listed: Sequence[Entry], report: Findings) -> None:
    """The files of a compacted dataset: is each there, has it all rows of the chunks it stands for, and no other."""
    store = dataset.store
    files = CompactedFiles(store)
    report.faults += [f"{group.path}: missing; clipseg-ray compact writes it again" for group in files.missing]
    parts: dict[tuple[str, int], dict[str, str]] = {}
    for group in files.groups:
        for part in group.parts:
            parts.setdefault(part.place, {})[group.folder] = group.path
    dataset.find_missing(parts, report)
    paths = {group.path for group in files.groups}
    for entry in listed:
        folder, _, name = entry.path.rpartition("/")
        if entry.path in paths or dataset.known(folder, name, entry.path):
            continue
        if name.endswith(".parquet") and folder.split("/")[0] in _READ:
            report.orphans.append(Orphan(entry.path, "is not made of parts that count, though readers would read it"))
        else:
            report.unrecognised.append(entry.path)
    report.orphans += _leftovers(store)
    samples = {
        (each.shard_id, index): chunk.samples
        for each in dataset.records.values()
        for index, chunk in enumerate(each.chunks)
    }
    expected = rows.Expected.of(dataset.made)
    owners = {layout.masks_folder(name): item for name, item in dataset.sets.items()}
    absent = {group.path for group in files.missing}
    for group in files.groups:
        if group.path in absent:
            continue
        (body,) = dataset.bodies([group.path])
        places = [part.place for part in group.parts]
        if group.folder == layout.IMAGES:
            count, faults = rows.read_images_of(body, expected, {place: samples.get(place) for place in places})
            report.images += count
        else:
            of_images, pairs_asked = files.images_of(places), dataset.pairs_of(places, report)
            count, faults = rows.read_masks(body, expected, of_images, owners[group.folder], pairs_asked)
            report.masks += count
        report.faults += [f"{group.path}: {fault}" for fault in faults]
        report.parts += 1


def _leftovers(store: Store) -> Iterable[Orphan]:
    """Temporary files of local writes that were cut off."""
    if store.protocol != "file":
        return
    for path in Path(store.root).rglob(".*.tmp"):
        if time.time() - path.stat().st_mtime > _LEFTOVER_S:
            yield Orphan(path.relative_to(store.root).as_posix(), "the rest of a write that was cut off")
