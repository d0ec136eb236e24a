"""Decoded images with what their tiles are cut from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipseg_ray.pixels.views import Views


@dataclass(frozen=True)
class ViewedImages:
    """Images at the model's size, and those that are seen in tiles at their larger one.

    whole_bhwc: uint8 [b, S, S, 3]. tiles_b: int64 [b], tiles a side; 1 where only the whole is seen. large_n: uint8,
    flat: for every image of more than one tile its T×T×3 pixels, T = tiles · S, one image behind the other.
    """

    whole_bhwc: np.ndarray
    tiles_b: np.ndarray
    large_n: np.ndarray

    @classmethod
    def plain(cls, whole_bhwc: np.ndarray) -> ViewedImages:
        """Without tiles."""
        return cls(whole_bhwc, np.ones(len(whole_bhwc), np.int64), np.empty(0, np.uint8))

    def __len__(self) -> int:
        return len(self.tiles_b)

    def __getitem__(self, part: slice) -> ViewedImages:
        """Consecutive images; nothing is copied."""
        first, stop, _ = part.indices(len(self))
        offsets = self._offsets
        flat = self.large_n[offsets[first] : offsets[max(first, stop)]]
        return ViewedImages(self.whole_bhwc[part], self.tiles_b[part], flat)

    @property
    def nbytes(self) -> int:
        """Of all pixels."""
        return self.whole_bhwc.nbytes + self.large_n.nbytes

    def finest(self, image: int) -> np.ndarray:
        """uint8 [T, T, 3] of one image: its larger pixels, or the model's where it has no tiles."""
        if self.tiles_b[image] == 1:
            return self.whole_bhwc[image]
        side = int(self.tiles_b[image]) * self.whole_bhwc.shape[1]
        first = self._offsets[image]
        return self.large_n[first : first + 3 * side**2].reshape(side, side, 3)

    @property
    def _offsets(self) -> np.ndarray:
        """int64 [b + 1], where each image's larger pixels begin."""
        side_b = np.where(self.tiles_b > 1, self.tiles_b, 0) * self.whole_bhwc.shape[1]
        return np.concatenate([[0], np.cumsum(3 * side_b**2)])


class Gathering:
    """Images gathered one by one, at most ``images`` of them; memory is taken as they come."""

    def __init__(self, images: int, size: int, views: Views | None) -> None:
        self._whole_bhwc = np.empty((images, size, size, 3), np.uint8)
        self._tiles_b = np.ones(images, np.int64)
        most = 0 if views is None or views.most == 1 else views.most
        self._large_n = np.empty(images * 3 * (most * size) ** 2, np.uint8)
        self._count = self._used = 0

    def add(self, pixels_hwc: np.ndarray, large_hwc: np.ndarray | None) -> None:
        """One more. large_hwc: uint8 [T, T, 3], or None where it has no tiles."""
        self._whole_bhwc[self._count] = pixels_hwc
        if large_hwc is not None:
            self._tiles_b[self._count] = len(large_hwc) // len(pixels_hwc)
            self._large_n[self._used : self._used + large_hwc.size] = large_hwc.reshape(-1)
            self._used += large_hwc.size
        self._count += 1

    def done(self) -> ViewedImages:
        """All that were added; views of what was gathered."""
        count = self._count
        return ViewedImages(self._whole_bhwc[:count], self._tiles_b[:count], self._large_n[: self._used])
