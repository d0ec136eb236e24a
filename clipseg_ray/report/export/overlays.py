"""Overlays: each image with what was found in it painted over it, and a legend below."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from clipseg_ray.pixels.opening import ImageError, opened, upright_rgb
from clipseg_ray.report.export.copies import Fetched
from clipseg_ray.report.export.files import Files
from clipseg_ray.report.export.names import Names
from clipseg_ray.report.export.painted import LONGER_SIDE, painted
from clipseg_ray.report.export.painting import masks_by_image
from clipseg_ray.report.export.walk import ExportChunk, Walk


def write(walk: Walk, chunks: Iterable[ExportChunk], destination: str) -> str:
    """Write ``<image>.jpg`` for every image in which a chosen query found something; returns what was written.

    Where masks overlap, the rule of ``painting`` decides which shows. Colours follow the queries' numbers, so that
    they are the same in every export.
    """
    written = 0
    called = Names(walk.store)
    fetched = Fetched(walk.store, walk.allow_source)
    with Files(destination) as files:
        for chunk in chunks:
            some = pa.array(np.unique(chunk.masks["image"].to_numpy()))
            drawn = [each for each in masks_by_image(chunk) if len(each[1])]
            names = {category.number: category.name for category in walk.categories.values()}
            for (image, masks), encoded in zip(drawn, fetched.encoded(chunk.images.take(some)), strict=True):
                if encoded is not None:
                    try:
                        files.put(called.of(image, ".jpg"), _overlay(encoded, masks, names))
                        written += 1
                    except ImageError as error:
                        fetched.refuse(error)
    return f"wrote {files.store.url}: {written:,} overlays{fetched.left_out}"


def _overlay(encoded: bytes, masks: pa.Table, names: dict[int, str]) -> bytes:
    with opened(encoded) as image:
        image.draft("RGB", (LONGER_SIDE, LONGER_SIDE))
        rgb, _ = upright_rgb(image)
    sink = io.BytesIO()
    painted(rgb, masks, masks["category"].to_numpy(), names).save(sink, "JPEG", quality=90)
    return sink.getvalue()
