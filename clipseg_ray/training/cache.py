"""Square pictures and their masks decoded once to one size, in files that all workers of a node map.

A folder of the cache is named by what it holds, so that another input or size never meets it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from filelock import FileLock

from clipseg_ray.errors import UserError
from clipseg_ray.masks import rle
from clipseg_ray.training.collection import Collection
from clipseg_ray.training.squashing import squash_masks, squash_picture


class Cached(Collection):
    """A collection at one size: `picture` is uint8 [S, S, 3] and `masks` bool [k, S, S]."""

    def __init__(self, collection: Collection, side: int, folder: str, threads: int, what: str) -> None:
        """Map the files below ``folder``, made on ``threads`` threads by the first who needs them.

        Raises UserError, with ``what`` as the name of the data, for pictures that are not square.
        """
        self.truth = collection.truth
        self.fingerprint = collection.fingerprint
        self.side = side
        place = Path(folder) / f"{collection.fingerprint[:24]}-{self.side}"
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            if not place.is_dir():
                with tempfile.TemporaryDirectory(prefix=f"{place.name}.", dir=folder) as temporary:
                    _write(collection, side, Path(temporary), threads, what)
                    Path(temporary).rename(place)
                    Path(temporary).mkdir()  # for TemporaryDirectory to remove
        self._pixels_nhwc = np.load(place / "pictures.npy", mmap_mode="r")
        offsets, characters = (np.load(place / f"{name}.npy", mmap_mode="r") for name in ("offsets", "counts"))
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(characters)]
        self._counts = pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)

    def picture(self, picture: int) -> np.ndarray:
        """See ``Collection``."""
        return np.array(self._pixels_nhwc[picture])

    def masks(self, truths: Sequence[int]) -> np.ndarray:
        """See ``Collection``."""
        return rle.decode(self._counts.take(pa.array(truths)), self.side, self.side)


def _write(collection: Collection, side: int, folder: Path, threads: int, what: str) -> None:
    truth = collection.truth
    shape = (len(collection), side, side, 3)
    pixels_nhwc = np.lib.format.open_memmap(folder / "pictures.npy", "w+", np.uint8, shape)

    def prepare(number: int) -> pa.Array:
        pixels_hwc = collection.picture(number)
        if pixels_hwc.shape[0] != pixels_hwc.shape[1]:
            raise UserError(
                f"cache: picture {number} of {what} is {pixels_hwc.shape[1]}×{pixels_hwc.shape[0]} pixels; "
                "the cache is for square pictures, remove it"
            )
        pixels_nhwc[number] = squash_picture(pixels_hwc, side)
        truths = truth.of(number)
        if not truths:
            return pa.array([], pa.string())
        masks_khw = squash_masks(collection.masks(truths), side)
        columns_kn = masks_khw.transpose(0, 2, 1).reshape(len(truths), -1)
        return rle.encode_bits(np.packbits(columns_kn, axis=1, bitorder="little"), side, side).counts

    with ThreadPoolExecutor(threads, "cache", initializer=torch.set_num_threads, initargs=(1,)) as pool:
        counts = pa.concat_arrays(list(pool.map(prepare, range(len(collection))))).cast(pa.large_binary())
    pixels_nhwc.flush()
    _, offsets, characters = counts.buffers()
    np.save(folder / "offsets.npy", np.frombuffer(offsets, np.int64, len(counts) + 1))
    np.save(folder / "counts.npy", np.frombuffer(characters or b"", np.uint8))
