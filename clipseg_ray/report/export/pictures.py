"""The images of an export as files of their own, whatever they lie in: tars, tables, folders, other hosts."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from clipseg_ray.pixels.kinds import KINDS
from clipseg_ray.pixels.opening import ImageError, opened, upright_rgb
from clipseg_ray.report.export.copies import Fetched
from clipseg_ray.report.export.files import Files
from clipseg_ray.report.export.names import Names
from clipseg_ray.report.export.walk import ExportChunk, Walk
from clipseg_ray.sources.formats import SOURCES

_ENDINGS = {kind.format: f".{kind.endings[0]}" for kind in KINDS} | {"MPO": ".jpg"}  # MPO: several JPEGs, the first


def are_files(walk: Walk) -> bool:
    """Whether the dataset's images are files by themselves, which another tool finds; else they lie in archives."""
    return SOURCES[walk.record.input["format"]].slices


def upright(encoded: bytes, orientation: int | None) -> tuple[bytes, str]:
    """An encoded image that every tool sees upright, as masks are, and its ending with the dot.

    Those that EXIF turns are turned and encoded anew, as JPEG of quality 95 if they were one, else as PNG: half of
    the tools that read exports know nothing of EXIF. All others stay as they are, byte by byte. Raises ImageError.
    """
    with opened(encoded) as image:
        ending = _ENDINGS.get(image.format or "", ".jpg")
        if orientation in (None, 1):
            return encoded, ending
        profile = image.info.get("icc_profile")
        rgb, _ = upright_rgb(image)
    sink = io.BytesIO()
    if ending == ".jpg":
        rgb.save(sink, "JPEG", quality=95, subsampling=0, icc_profile=profile)
        return sink.getvalue(), ".jpg"
    rgb.save(sink, "PNG", icc_profile=profile)
    return sink.getvalue(), ".png"


class Pictures:
    """Images on their way into an export; those that cannot be had are counted and left out.

    ``not_called``: see ``Names``.
    """

    def __init__(self, walk: Walk, not_called: str = "") -> None:
        self._fetched = Fetched(walk.store, walk.allow_source)
        self.names = Names(walk.store, not_called)

    def upright(self, images: pa.Table) -> Iterator[tuple[bytes, str] | None]:
        """For each row of the images table what ``upright`` gives, a few in memory; None for one left out.

        Raises UserError when there are several and none can be had.
        """
        orientations = images["orientation"].to_pylist()
        for orientation, encoded in zip(orientations, self._fetched.encoded(images), strict=True):
            made = None
            if encoded is not None:
                try:
                    made = upright(encoded, orientation)
                except ImageError as error:
                    self._fetched.refuse(error)
            yield made

    def copied(self, chunk: ExportChunk, files: Files, folder: str = "") -> Iterator[str | None]:
        """Put each image of the chunk below ``folder`` (with its slash); yields the name it has there, or None."""
        for row, made in zip(_called(chunk.images), self.upright(chunk.images), strict=True):
            if made is None:
                yield None
            else:
                name = self.names.of(row, made[1])
                files.put(folder + name, made[0])
                yield name

    @property
    def left_out(self) -> str:
        """For the end of a sentence: how many were left out, and why the first; empty when none was."""
        return self._fetched.left_out


def _called(images: pa.Table) -> list[Mapping[str, Any]]:
    return images.select(["image_id", "source_url", "key", "offset"]).to_pylist()
