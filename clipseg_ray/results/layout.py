"""The name of every file in an output dataset.

A part's name is a pure function of (shard, chunk) and, for masks, the prompt set: that alone makes every write
idempotent and every resume a listing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DATASET = "_dataset.json"
IDS = "_ids.json"
CARD = "README.md"
SHEET = "contact-sheet.webp"
"""A picture for the card."""
INPUTS = "_inputs"
SHARDS = "_shards"
SETS = "_sets"
RUNS = "_runs"
COMPACT = "_compact"
PAIRS = "_pairs"
QUERIES = "queries"
IMAGES = "images"
MASKS = "masks"
SELECTION = f"{PAIRS}/selection.json"
REHEARSAL = ".rehearsal-"
"""What a measurement writes goes beside the output, under its name and this."""

_SET_FOLDER = f"{MASKS}/set="
_PART = re.compile(r"([0-9a-f]{16})-(\d{6,})\.parquet")
_SET = re.compile(r"ps-[0-9a-f]{16}")
_COMPACT_FILE = re.compile(r"compact-([0-9a-f]{16})\.parquet")
_SHARD_RECORD = re.compile(r"([0-9a-f]{16})-(\d+)-(\d+)-(\d+)-(\d+)(-broken)?\.json")
_MASKS_FOLDER = re.compile(rf"{MASKS}/set=ps-[0-9a-f]{{16}}")
_RUN_ID = r"\d{8}T\d{6}-[0-9a-f]{6}"
_NAMES = {
    INPUTS: re.compile(r"\d{6,}\.parquet"),
    SETS: re.compile(r"\d{6,}\.json"),
    COMPACT: re.compile(r"\d{6,}\.parquet"),
    PAIRS: re.compile(r"[0-9a-f]{16}\.parquet|selection\.json"),
    RUNS: re.compile(rf"{_RUN_ID}(\.status)?\.json"),
    SHARDS: _SHARD_RECORD,
    QUERIES: re.compile(r"ps-[0-9a-f]{16}\.parquet"),
}
"""Of each folder besides those of parts. Whatever else lies there (a ``.DS_Store``, a copy, the rest of a cut write) is
not ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardCounts:
    """A shard that has been read to its end: its chunks, its samples, and image ids that occur more than once in it.

    ``further``: images in its samples that were not taken; ``broken``: whether nothing of it could be read.
    """

    chunks: int
    samples: int
    repeated: int = 0
    further: int = 0
    broken: bool = False


def is_ours(folder: str, name: str) -> bool:
    """Whether a run gives a file of ``folder`` this name; ``name`` is all that follows the folder in its path."""
    return _NAMES.get(folder, _PART).fullmatch(name) is not None


def is_set_name(name: str) -> bool:
    """Whether this is a prompt set's name as runs write it; it names a folder and a file."""
    return _SET.fullmatch(name) is not None


def masks_folder(prompt_set: str) -> str:
    """The folder that holds a prompt set's mask parts.

    The key is not ``prompt_set``: that is a column of the parts, and one of the same name in path and
    file breaks readers.
    """
    return f"{_SET_FOLDER}{prompt_set}"


def set_of_folder(folder: str) -> str:
    """The prompt set whose mask parts are in a folder; any other folder as it is."""
    return folder.removeprefix(_SET_FOLDER)


def dataset_and_set(url: str) -> tuple[str, str | None]:
    """Dataset and prompt set of the URL of a set's folder of masks; any other URL is a dataset's, without a set."""
    match = re.fullmatch(rf"(?:(.*)/)?({_MASKS_FOLDER.pattern})/?", url)
    return (match[1] or (".", "/")[url[0] == "/"], set_of_folder(match[2])) if match else (url, None)


def is_of_set(folder: str) -> bool:
    """Whether a folder holds a prompt set's mask parts."""
    return _MASKS_FOLDER.fullmatch(folder) is not None


def part_name(shard_id: str, chunk: int) -> str:
    """The file name of a chunk's part, the same in every folder."""
    return f"{shard_id}-{chunk:06d}.parquet"


def parse_part_name(name: str) -> tuple[str, int] | None:
    """(shard_id, chunk) of a part's file name, None for any other file."""
    match = _PART.fullmatch(name)
    return (match[1], int(match[2])) if match else None


def shard_record(shard_id: str, counts: ShardCounts) -> str:
    """The record put when a shard has been read to its end.

    Its name has all that a plan or a final check must know of a finished shard, so that they list records and read
    none.
    """
    numbers = f"{counts.chunks}-{counts.samples}-{counts.repeated}-{counts.further}"
    return f"{SHARDS}/{shard_id}-{numbers}{'-broken' * counts.broken}.json"


def parse_shard_record(name: str) -> tuple[str, ShardCounts] | None:
    """Shard id and counts of a shard record's file name, None for any other file."""
    match = _SHARD_RECORD.fullmatch(name)
    if match is None:
        return None
    chunks, samples, repeated, further = map(int, match.groups()[1:5])
    broken = match[6] is not None
    return match[1], ShardCounts(chunks=chunks, samples=samples, repeated=repeated, further=further, broken=broken)


def queries_file(prompt_set: str) -> str:
    """The table of a prompt set's queries."""
    return f"{QUERIES}/{prompt_set}.parquet"


def set_record(number: int) -> str:
    """The claim of one prompt set, numbered in the order the sets came to be."""
    return f"{SETS}/{number:06d}.json"


def inputs_file(number: int) -> str:
    """One addition to the frozen shard listing."""
    return f"{INPUTS}/{number:06d}.parquet"


def pairs_file(shard_id: str) -> str:
    """The (image, query) pairs that a shard of a refined dataset is."""
    return f"{PAIRS}/{shard_id}.parquet"


def compact_groups(number: int) -> str:
    """One addition to a compacted dataset's list of which parts went into which file."""
    return f"{COMPACT}/{number:06d}.parquet"


def compact_file(folder: str, group: str) -> str:
    """The file that holds the rows of a group of parts of ``folder``."""
    return f"{folder}/compact-{group}.parquet"


def parse_compact_file(name: str) -> str | None:
    """The group of a compacted file's name, None for any other file."""
    match = _COMPACT_FILE.fullmatch(name)
    return match[1] if match else None


def run_record(run_id: str) -> str:
    """What one run was asked and did."""
    return f"{RUNS}/{run_id}.json"


def run_status(run_id: str) -> str:
    """How far a run is, rewritten at each heartbeat."""
    return f"{RUNS}/{run_id}.status.json"
