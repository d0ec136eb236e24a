"""What every release is once it is read: its images in order, and who draws the truth of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeAlias

import numpy as np

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.truth import Thing
from clipseg_ray.storage import Store, plain_errors

Size: TypeAlias = tuple[int, int]
"""Height and width of an image in pixels."""


FAR = 1e6
"""Of a polygon's corner, in pixels: no image is that large, and every step of an edge is drawn."""


@dataclass(frozen=True)
class Picture:
    """An image of a release: ``key`` names it in its shard; ``image`` is its URL; ``records`` what its truth is drawn
    from, plain data that goes to the worker that draws it; ``size`` what the release says it has, if it does."""

    key: str
    image: str
    records: Any
    size: Size | None = None

    @classmethod
    def at(cls, folder: Store, path: str, records: Any, size: Size | None = None) -> Picture:
        """The image at ``path`` in a folder, by its path without the ending. Raises UserError for a path out of it."""
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "://" in path:
            raise UserError(f"{path!r}: an image of the release is named by a path in {folder.url}, and this is none")
        return cls(path.removesuffix(PurePosixPath(path).suffix), folder.url_of(path), records, size)


@dataclass(frozen=True)
class DrawnMask:
    """The true pixels of one thing: bool [height, width]. ``source_id`` is what the release calls it, where it does."""

    thing: Thing
    mask_hw: np.ndarray
    source_id: str | int | None = None


@dataclass(frozen=True)
class Drawn:
    """The truth of one image. ``absent``, ``ignore_hw``: a truth shard's ``absent`` and ``ignore``; None for none."""

    masks: Sequence[DrawnMask]
    absent: Sequence[Thing] | None = None
    ignore_hw: np.ndarray | None = None


Draw: TypeAlias = Callable[[Picture, Size], Drawn]
"""Draws an image's truth at its size. Pickles to workers. Raises UserError for what cannot be drawn."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """One split of a data set. ``name`` is how its shards' names begin; ``sha256`` that of all that was read.

    things: what was looked for in every image; empty where images differ in that. remarks: what was left out, for a
    person.
    """

    name: str
    pictures: Sequence[Picture]
    draw: Draw
    sha256: str
    things: Sequence[Thing] = field(default=())
    remarks: Sequence[str] = field(default=())


def load_json(url: str) -> tuple[Any, str]:
    """What a JSON file holds, and the SHA-256 of its bytes. Raises UserError where none is there."""
    data = read(url)
    try:
        return json.loads(data), hashlib.sha256(data).hexdigest()
    except (ValueError, RecursionError) as error:
        raise UserError(f"{url}: not valid JSON ({error}); download it again") from error


def read(url: str) -> bytes:
    """A whole file. Raises UserError, naming it, where it cannot be had."""
    folder, _, name = url.rpartition("/")
    with plain_errors(url):
        return Store.of(folder or "/").get(name)


def first_of(release: Store, paths: Iterable[str]) -> str:
    """The URL of the first of ``paths`` that is there, or of the first of all: whoever reads it says that it is not."""
    candidates = list(paths)
    with plain_errors(release.url):
        return release.url_of(next((path for path in candidates if release.exists(path)), candidates[0]))
