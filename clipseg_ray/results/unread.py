"""Shards that nobody has read to their end: how many images and chunks they may hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clipseg_ray.results.shard_records import ShardCounts
from clipseg_ray.sources.base import Shard

IMAGE_BYTES = 100_000.0
"""A photograph's encoded size, to guess by before one has been seen."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Unread:
    """One number a shard, n shards. ``bytes_n``: as listed, 0 where only an image's name is known; ``images_n``: where
    the listing tells, else 0; ``done_n``: its chunks that have every part. ``chunk_images_n``, ``chunk_bytes_n``: at
    which of them a chunk closes."""

    bytes_n: np.ndarray
    images_n: np.ndarray
    done_n: np.ndarray
    chunk_images_n: np.ndarray
    chunk_bytes_n: np.ndarray

    @classmethod
    def of(cls, shards: Sequence[Shard], done: Sequence[int]) -> Unread:
        """These shards; ``done``: the finished chunks of each."""
        # Of a shard that is not read whole (``take``) nobody knows how much will be.
        sizes = [0 if shard.take and not shard.members else shard.size for shard in shards]
        return cls(
            bytes_n=np.array(sizes, np.float64),
            images_n=np.array([shard.images or 0 for shard in shards], np.float64),
            done_n=np.array(done, np.int64),
            chunk_images_n=np.array([shard.chunking.images for shard in shards], np.float64),
            chunk_bytes_n=np.array([shard.chunking.bytes for shard in shards], np.float64),
        )

    def images(self, image_bytes: float) -> int:
        """About how many images, of so many bytes each."""
        return int(self._images(image_bytes).sum())

    def chunks(self, image_bytes: float) -> int:
        """About how many chunks."""
        images_n = self._images(image_bytes)
        bytes_n = np.where(self.bytes_n > 0, self.bytes_n, images_n * image_bytes)
        by_images, by_bytes = np.ceil(images_n / self.chunk_images_n), np.ceil(bytes_n / self.chunk_bytes_n)
        return int(np.maximum(np.maximum(by_images, by_bytes), self.done_n).sum())

    def _images(self, image_bytes: float) -> np.ndarray:
        guessed_n = np.maximum(1, np.round(self.bytes_n / image_bytes))
        return np.where(self.images_n > 0, self.images_n, guessed_n)


def image_bytes(shards: Sequence[Shard], read: Mapping[str, ShardCounts]) -> float:
    """Bytes of a shard to one of its images, as those that have been ``read`` to their end have it, by shard id."""
    whole = [shard for shard in shards if shard.take is None and shard.shard_id in read]
    size, images = sum(shard.size for shard in whole), sum(read[shard.shard_id].samples for shard in whole)
    return size / images if size and images else IMAGE_BYTES
