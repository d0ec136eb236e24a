"""The encoded images behind a dataset's masks, found again in its input."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from clipseg_ray.results import record
from clipseg_ray.sources import fetching, formats
from clipseg_ray.storage import Store


class SourceImages:
    """Reads images from where a run found them. Raises UserError where no dataset is."""

    def __init__(self, store: Store) -> None:
        settings = record.require(store).input
        self._source = formats.source_of(
            settings["format"], settings["root"], image_field=settings["image_field"], id_field=settings["id_field"]
        )

    def fetch(self, images: pa.Table) -> Iterator[bytes | Exception]:
        """The encoded image of each row of ``images`` (rows of the images table), in order.

        An exception stands where an image cannot be had: see :func:`clipseg_ray.sources.fetching.fetch`.
        """
        return fetching.fetch(self._source, images)
