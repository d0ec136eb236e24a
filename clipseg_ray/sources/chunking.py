"""Where the chunks of a shard end."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

PIECES = 4
"""Into about how many chunks a small shard is cut, so that several actors share it."""
LEAST_IMAGES = 8
"""In a chunk of a small shard, of which the listing tells the number of images."""
LEAST_BYTES = 512 * 2**10
"""In a chunk of a small shard, of which the listing tells only the bytes."""
PIXEL_BYTES = 128 * 2**20
"""A chunk's decoded images never take more."""


@dataclass(frozen=True)
class Chunking:
    """A chunk closes once it has ``images`` samples or its encoded images reach ``bytes``."""

    images: int = 256
    bytes: int = 256 * 2**20

    def full(self, samples: int, size: int) -> bool:
        """Whether a chunk of so many samples and encoded bytes is closed."""
        return samples >= self.images or size >= self.bytes

    def of_shard(self, images: int | None, size: int) -> Chunking:
        """The limits for one shard of ``size`` bytes, ``images`` where the listing tells their number: never more.

        By what is listed alone: the chunks of a shard are the same whatever machine reads it.
        """
        if images is None:
            return replace(self, bytes=min(self.bytes, max(LEAST_BYTES, math.ceil(size / PIECES))))
        piece = LEAST_IMAGES * math.ceil(images / PIECES / LEAST_IMAGES)
        return replace(self, images=min(self.images, piece))

    def decoded(self, image_bytes: int) -> Chunking:
        """The same where ``PIXEL_BYTES`` may end a chunk earlier: each image decodes to so many bytes."""
        return replace(self, images=min(self.images, max(1, PIXEL_BYTES // image_bytes)))
