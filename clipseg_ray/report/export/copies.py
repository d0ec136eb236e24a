"""The images of an export, and an account of those that could not be had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from clipseg_ray.errors import UserError, brief
from clipseg_ray.results.source_images import SourceImages
from clipseg_ray.storage import Store


class Fetched:
    """Encoded images, chunk by chunk. Single ones may be gone; an input that is gone ends the export."""

    def __init__(self, store: Store, allow_source: Sequence[str] = ()) -> None:
        self._images = SourceImages(store, allow_source)
        self._missing = 0
        self._first = ""

    def encoded(self, images: pa.Table) -> Iterator[bytes | None]:
        """The image of each row of the images table, a few in memory at a time; None for one that cannot be had.

        Raises UserError when there are several and none can be had.
        """
        had = 0
        last: Exception | None = None
        for found in self._images.fetch(images):
            if isinstance(found, Exception):
                self.refuse(found)
                last = found
                yield None
            else:
                had += 1
                yield found
        if last is not None and not had and len(images) > 1:
            raise UserError(f"none of {len(images)} images can be had ({brief(last)}); is the input where it was?")

    def refuse(self, why: Exception) -> None:
        """Count one more that is left out."""
        self._missing += 1
        self._first = self._first or brief(why)

    @property
    def left_out(self) -> str:
        """For the end of a sentence: how many were left out, and why the first; empty when none was."""
        if not self._missing:
            return ""
        return f"; {self._missing:,} images could not be had and were left out (the first: {self._first})"
