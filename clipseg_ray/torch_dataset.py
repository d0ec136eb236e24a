"""A dataset's images with their masks, as PyTorch takes them.

dataset = clipseg_ray.open("s3://my-bucket/masks").torch(["chair", "table"])
loader = torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=True, num_workers=4)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from clipseg_ray.errors import UserError
from clipseg_ray.pixels.decode import decode
from clipseg_ray.pixels.preprocessing import BILINEAR, Preprocessing
from clipseg_ray.results import mask_pixels, record
from clipseg_ray.results.canned_questions import find
from clipseg_ray.results.reading import literal
from clipseg_ray.results.source_images import SourceImages
from clipseg_ray.storage import Store

Item = dict[str, Any]


class MasksDataset(torch.utils.data.Dataset[Item]):
    """Every readable image of a dataset, with its masks for some queries; map-style.

    An item is a dict: ``image_id``; ``image``, uint8 [3, size, size], RGB, squashed to a square as the model saw it;
    ``masks``, bool [queries, size, size], in the order of the queries, every pixel that of the nearest centre;
    ``present``, bool [queries], True where the query was found: the dataset's mask has a pixel, even if none is left at
    this size; ``missing``, bool [queries], True where the dataset has no answer, so that neither is known (the mask is
    empty then). Both as evaluation has the words: a run that keeps no empty masks answers by leaving a row out.

    Images are read where the run found them when an item is asked for, those of a batch at once; run lengths of the
    chosen queries (some hundred bytes each) are held in memory. It can be pickled to loader processes.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        url: str,
        query_ids: Sequence[str],
        *,
        size: int | None = None,
        allow_source: Sequence[str] = (),
    ) -> None:
        """``connection`` has the views of the dataset at ``url`` (``reading.connect``) and is not kept.

        size: of the squares, in pixels; without it the side of what the model was given.
        ``allow_source``: see :func:`clipseg_ray.open`. Raises UserError for a query that is not there, and for images
        in compressed tars, which have no index."""
        self.query_ids = [find(connection, url, query).query_id for query in query_ids]
        self._source_images = SourceImages(Store.of(url), allow_source)
        made = record.require(Store.of(url))
        self.size: int = made.model["preprocessing"]["size"] if size is None else size
        self._keeps_empty: bool = made.masks["keep_empty"]
        self._images = connection.sql(
            'SELECT image_id, source_url, key, "offset", length FROM images '
            "WHERE status = 'ok' ORDER BY shard, chunk, image_id"
        ).to_arrow_table()
        if self._images.column("offset").null_count:
            raise UserError(
                f"{url}: its images lie in compressed tars, which can only be read from the start; "
                "unpack them and run again"
            )
        listed = ", ".join(map(literal, self.query_ids))
        self._masks = connection.sql(
            f"SELECT image_id, query_id, counts, height, width, area FROM masks WHERE query_id IN ({listed})"
        ).to_arrow_table()
        self._row_nq = self._rows()
        self._preprocessing = Preprocessing(
            size=self.size, resample=BILINEAR, rescale=1 / 255, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
        )

    def _rows(self) -> np.ndarray:
        """int64 [images, queries], the row of each mask, -1 where there is none."""
        images = self._images.column("image_id").combine_chunks()
        row_nq = np.full((len(images), len(self.query_ids)), -1, np.int64)
        image_p = np.asarray(pc.index_in(self._masks.column("image_id"), images).fill_null(-1))
        query_p = np.asarray(pc.index_in(self._masks.column("query_id"), pa.array(self.query_ids)))
        known = image_p >= 0
        row_nq[image_p[known], query_p[known]] = np.flatnonzero(known)
        return row_nq

    def __len__(self) -> int:
        return len(self._row_nq)

    def __getitem__(self, index: int) -> Item:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """Several items; their images are asked for together."""
        chosen = self._images.take(pa.array([range(len(self))[index] for index in indices]))
        items = []
        for index, image_id, found in zip(
            indices, chosen.column("image_id").to_pylist(), self._source_images.fetch(chosen), strict=True
        ):
            if isinstance(found, Exception):
                raise UserError(f"{image_id}: the image cannot be had again ({found})") from found
            pixels_hwc = decode(found, self._preprocessing).pixels_hwc
            image = torch.from_numpy(pixels_hwc).permute(2, 0, 1).contiguous()
            items.append({"image_id": image_id, "image": image, **self._masks_of(self._row_nq[index])})
        return items

    def _masks_of(self, row_q: np.ndarray) -> Item:
        masks = torch.zeros(len(row_q), self.size, self.size, dtype=torch.bool)
        present = torch.zeros(len(row_q), dtype=torch.bool)
        there = row_q >= 0
        if there.any():
            rows = self._masks.take(pa.array(row_q[there]))
            drawn = mask_pixels.decode(rows, (self.size, self.size))
            masks[torch.from_numpy(there)] = torch.from_numpy(np.ascontiguousarray(drawn))
            present[torch.from_numpy(there)] = torch.from_numpy(np.asarray(rows.column("area")) > 0)
        missing = torch.from_numpy(~there & self._keeps_empty)
        return {"masks": masks, "present": present, "missing": missing}
