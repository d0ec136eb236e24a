"""Reading and segmenting without looking at a pixel, for runs in which only the driver's work is real.

``install`` is a ``worker_process_setup_hook``: the workers of a simulated run walk real tars and write real part files
of a few rows, but decode no image and hold no model. The driver knows nothing of it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from clipseg_ray.queries.prompt_set import PromptSet
from clipseg_ray.results import schema

_GRID = 16


def install() -> None:
    """Put the stand-ins in the place of decoding and segmenting, in this process."""
    from clipseg_ray.pipeline import reader, segmenter

    reader.decode_all = _black
    segmenter.Segmenter.__init__ = _hold_no_model  # type: ignore[method-assign]
    segmenter.Segmenter._masks = _masks  # type: ignore[method-assign]


def _black(
    samples: Iterable[Any], get_bytes: Callable[[Any], bytes], preprocessing: Any, *_: Any, **__: Any
) -> Iterator[Any]:
    """A black image for every sample."""
    from clipseg_ray.pixels.decode import DecodedImage

    pixels_hwc = np.zeros((preprocessing.size, preprocessing.size, 3), np.uint8)
    for sample in samples:
        yield sample, DecodedImage(pixels_hwc=pixels_hwc, width=_GRID, height=_GRID, orientation=1)


def _hold_no_model(self: Any, spec: Any) -> None:
    from clipseg_ray.storage import Store

    self.spec = spec
    self.store = Store.of(spec.output)
    self.worker = f"{socket.gethostname()}:{os.getpid()}"
    self._embedders = {}


def _masks(self: Any, row: Any, wanted: Sequence[Any], result: Any) -> list[pa.Table]:
    return [_empty_masks(row.images, each) for each in wanted]


def _empty_masks(images: pa.Table, prompt_set: PromptSet) -> pa.Table:
    """An empty mask of each image and query."""
    query_ids = [query.query_id for query in prompt_set.queries]
    rows = images.num_rows * len(query_ids)
    side = pa.array([_GRID] * rows, pa.int32())
    zeros = np.zeros(rows, np.int32)
    box = [pa.array(zeros)] * 4
    return pa.table(
        {
            "image_id": images.column("image_id").take(pa.array(np.repeat(np.arange(images.num_rows), len(query_ids)))),
            "query_id": query_ids * images.num_rows,
            "query_text": pa.nulls(rows, pa.string()),
            "score": np.full(rows, 0.25, np.float32),
            "score_mean": pa.nulls(rows, pa.float32()),
            "area": np.zeros(rows, np.int64),
            "coverage": np.zeros(rows, np.float32),
            "bbox": pa.StructArray.from_arrays(box, fields=list(schema.BBOX)),
            "height": side,
            "width": side,
            "counts": ["P8"] * rows,
            "image_height": side,
            "image_width": side,
            "prompt_set": pa.repeat(prompt_set.name, rows),
        },
        schema=schema.MASKS,
    )
