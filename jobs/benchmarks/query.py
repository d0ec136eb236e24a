"""A million masks asked the questions of ``clipseg-ray query``: how long it takes, and which columns it reads."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from benchmarks import made_masks
from benchmarks.harness import Contestant, Race, aligned, environment, race, report
from clipseg_ray.results import canned_questions, layout, reading
from clipseg_ray.storage import Store

SELECTIVE = "SELECT count(*), avg(area) FROM masks WHERE score > 0.9 AND coverage > 0.05"
"""A filter on score and coverage: no mask need be read for it."""

_TAIL_BYTES = 2**14

_A, _B = "person", "chair"


def asked() -> dict[str, str]:
    """The five canned questions, and a filter, by name."""
    return {
        "--top": canned_questions.top(_A, 20),
        "--borderline": canned_questions.borderline(_A, 0.5, 20),
        "--co-occur": canned_questions.co_occur(_A, _B, 20),
        "--coverage": canned_questions.coverage(100),
        "--absent": canned_questions.absent(20),
        "score and coverage": SELECTIVE,
    }


def benchmark(
    *, rows: int = 1_000_000, rounds: int = 3, folder: str | None = None, json_file: str | None = None
) -> dict[str, Any]:
    """Make ``rows`` masks twice, as a run writes them and as one file sorted by query, ask both, print and return it.

    folder: keep the datasets there and use those a run before left; else they are made in a temporary folder.
    """
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(folder or temporary)
        parts, compact = place / f"parts-{rows}", place / f"compact-{rows}"
        started = time.perf_counter()
        if not (parts / layout.DATASET).exists():
            made_masks.write(parts, rows)
        if not (compact / layout.DATASET).exists():
            made_masks.write_compact(parts, compact)
        made_s = time.perf_counter() - started
        races = [_race(name, statement, parts, compact, rounds) for name, statement in asked().items()]
        answers = [_answers(output) for output in (parts, compact)]
        read = {name: _bytes_read(parts, statement) for name, statement in asked().items()}
        sizes = _bytes_by_column(parts)
        made_rows = _rows(parts)
    slowest = max(max(timing.seconds) for found in races[:5] for timing in found.timings)
    result = {
        "benchmark": "query",
        **environment("cpu"),
        "settings": {"rows": made_rows, "rounds": rounds, "duckdb": duckdb.__version__, "made_s": made_s},
        "agrees": answers[0] == answers[1] and read["score and coverage"].get("counts", 0) == 0,
        "bytes_per_row": {name: size / made_rows for name, size in sizes.items()},
        "bytes_read": read,
        "slowest_s": slowest,
    }
    notes = [_sizes(sizes, made_rows), _reads(read), f"Slowest of the five canned questions: {slowest:.2f} s."]
    report(result, races, notes, json_file)
    return result


def _race(name: str, statement: str, parts: Path, compact: Path, rounds: int) -> Race:
    def ask(output: Path) -> None:
        with reading.connect(Store.of(str(output))) as connection:
            connection.execute(statement).fetchall()

    return race(
        f"{name}, connecting included",
        "question",
        [
            Contestant("parts, as a run writes them", lambda: ask(parts)),
            Contestant("one file, sorted by query", lambda: ask(compact)),
        ],
        rounds,
    )


def _rows(output: Path) -> int:
    with reading.connect(Store.of(str(output))) as connection:
        return int(connection.execute("SELECT count(*) FROM masks").fetchall()[0][0])


def _answers(output: Path) -> list[Any]:
    with reading.connect(Store.of(str(output))) as connection:
        return [connection.execute(statement).fetchall() for statement in asked().values()]


def _sizes(sizes: dict[str, int], rows: int) -> str:
    total = sum(sizes.values())
    table = [["", "bytes/row", "share"]]
    table += [[name, f"{size / rows:.2f}", f"{size / total:.1%}"] for name, size in sizes.items()]
    return f"Bytes on disk, parts: {total / rows:.1f} a row.\n{aligned(table)}\n"


def _reads(read: dict[str, Counter[str]]) -> str:
    table = [["", "read, MiB", "of that counts", "columns read"]]
    for name, columns in read.items():
        named = [column for column, _ in columns.most_common() if not column.startswith("(")]
        counts, total = columns.get("counts", 0), sum(columns.values())
        table.append([name, f"{total / 2**20:.2f}", f"{counts / 2**20:.2f}", ", ".join(named)])
    return f"Bytes DuckDB asks the file system for, parts:\n{aligned(table)}\n"


def _chunks(path: Path) -> Iterator[tuple[str, int, int]]:
    """(column, first byte, byte behind) of every column chunk of a Parquet file."""
    metadata = pq.ParquetFile(path).metadata
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(index)
            first = chunk.dictionary_page_offset or chunk.data_page_offset
            yield chunk.path_in_schema, first, first + chunk.total_compressed_size


def _bytes_by_column(output: Path) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for path in sorted((output / layout.MASKS).rglob("*.parquet")):
        for column, first, behind in _chunks(path):
            sizes[column] += behind - first
            sizes["(footers, indices, filters)"] -= behind - first
        sizes["(footers, indices, filters)"] += path.stat().st_size
    return dict(sizes.most_common())


class _Counted(LocalFileSystem):
    """Local files under ``counted://``; ``reads`` lists (path, first byte, byte behind) of what is asked for."""

    protocol = "counted"
    cachable = False
    reads: list[tuple[str, int, int]] = []  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("counted://").strip("/")

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **settings: Any) -> bytes:
        data: bytes = super().cat_file(path, start, end, **settings)
        first = start or 0
        _Counted.reads.append((path, first, first + len(data)))
        return data


def _bytes_read(output: Path, statement: str) -> Counter[str]:
    """Bytes asked for by column; what belongs to no column of ``masks`` is under names in brackets.

    DuckDB opens a file by reading its last 16 KiB, most of it the footer: all of that counts as footer.
    """
    fsspec.register_implementation("counted", _Counted, clobber=True)
    found: Counter[str] = Counter()
    chunks: dict[str, list[tuple[str, int, int]]] = {}
    with reading.connect(Store.of(f"counted://{output}")) as connection:
        _Counted.reads.clear()
        connection.execute(statement).fetchall()
    for path, first, behind in _Counted.reads:
        if f"/{layout.MASKS}/" not in path:
            found["(images, queries)"] += behind - first
        elif behind == Path(path).stat().st_size and behind - first <= _TAIL_BYTES:
            found["(footers)"] += behind - first
        else:
            for column, start, end in chunks.setdefault(path, list(_chunks(Path(path)))):
                found[column] += max(min(end, behind) - max(start, first), 0)
    return +found
