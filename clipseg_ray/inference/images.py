"""Images as a program has them, PIL's, arrays, bytes, paths or URLs, read as a run reads those of its input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from clipseg_ray.addresses import absolute
from clipseg_ray.errors import UserError
from clipseg_ray.outside_text import entered, typed
from clipseg_ray.pixels.decode import DecodedImage, Mode, decode, squash
from clipseg_ray.pixels.opening import ImageError, handed, opened, upright_rgb
from clipseg_ray.pixels.preprocessing import Preprocessing
from clipseg_ray.pixels.viewed_images import Gathering, ViewedImages
from clipseg_ray.pixels.views import Views
from clipseg_ray.redaction import redacted
from clipseg_ray.results.schema import IMAGES
from clipseg_ray.sources.faults import UNREACHABLE, Fault
from clipseg_ray.sources.images import FETCH_IMAGES, patiently, settled
from clipseg_ray.storage import get_many
from clipseg_ray.tables import twice

ImageLike: TypeAlias = "str | Path | bytes | Image.Image | np.ndarray"
"""A path or URL, an encoded image, PIL's, or uint8 [h, w, 3], [h, w, 4] or [h, w]."""

MAX_BYTES = 256 * 2**20
"""An encoded image of more bytes is not read: the default of ``input.max_image_bytes``."""

SCHEMA = pa.schema([IMAGES.field(name) for name in ("image_id", "width", "height", "orientation", "status", "error")])
"""The columns of a run's ``images`` that say what an image is."""


@dataclass(frozen=True, kw_only=True)
class ReadImages:
    """Images decoded at the model's size, and what became of each.

    table: a row of ``SCHEMA`` for every image, in order. pixels: of those with status ok, whose originals are
    ``sources``.
    """

    table: pa.Table
    pixels: ViewedImages
    sources: tuple[ImageLike, ...]

    @property
    def ok(self) -> pa.Table:
        """The rows of those that are images."""
        return self.table.filter(pc.equal(self.table["status"], "ok"))

    def require(self) -> None:
        """Raise UserError that names each image that is none, and why."""
        bad = self.table.filter(pc.not_equal(self.table["status"], "ok")).to_pylist()
        if bad:
            listed = "\n".join(f"  {row['image_id']}: {row['error']}" for row in bad)
            raise UserError(f"{len(bad)} of {self.table.num_rows} image(s) cannot be read:\n{listed}")


def read(
    given: ImageLike | Sequence[ImageLike],
    ids: Sequence[str] | None,
    preprocessing: Preprocessing,
    mode: Mode,
    pool: ThreadPoolExecutor,
    views: Views | None = None,
) -> ReadImages:
    """Read and decode images; what is none, or cannot be had, is said in its row of the table.

    ids: their names, each once; unless given a path or URL as it was given, and ``image-<place>`` of others. pool: the
    threads that decode. URLs are the caller's own: hosts in them may have private addresses, those that they redirect
    to may not. Raises UserError for ids that are not as many as the images, or not all different.
    """
    alone = isinstance(given, str | Path | bytes | Image.Image | np.ndarray)
    images = cast("Sequence[ImageLike]", [given] if alone else given)
    names = _names(images, ids)
    gathering = Gathering(len(images), preprocessing.size, views)
    rows: list[dict[str, Any]] = []
    sources: list[ImageLike] = []
    for start in range(0, len(images), FETCH_IMAGES):
        some = images[start : start + FETCH_IMAGES]
        for source, found in zip(some, _decoded(some, preprocessing, mode, pool, views), strict=True):
            row: dict[str, Any] = {"image_id": names[len(rows)], "status": "ok"}
            if isinstance(found, DecodedImage):
                gathering.add(found.pixels_hwc, found.large_hwc)
                row |= {"width": found.width, "height": found.height, "orientation": found.orientation}
                sources.append(source)
            elif isinstance(found, ImageError):
                row |= {"status": found.status, "error": found.message}
            else:
                row |= {"status": found.status or UNREACHABLE, "error": redacted(found.words)}
            rows.append(row)
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    return ReadImages(table=table, pixels=gathering.done(), sources=tuple(sources))


def original(source: ImageLike) -> Image.Image:
    """An image in its own size, upright, RGB. Raises UserError where a path or URL has none any more."""
    content: Any = source
    if isinstance(source, str | Path):
        (content,) = _fetched([source])
    name = str(source) if isinstance(source, str | Path) else "image"
    if isinstance(content, Fault):
        raise UserError(f"{name}: {content.words}")
    try:
        if isinstance(content, bytes):
            with opened(content) as image:
                return upright_rgb(image)[0]
        with handed(_as_image(content)) as image:
            return upright_rgb(image)[0]
    except ImageError as error:
        raise UserError(f"{name}: {error}") from error


def _names(images: Sequence[ImageLike], ids: Sequence[str] | None) -> list[str]:
    if ids is None:
        names = [
            redacted(typed(str(image))) if isinstance(image, str | Path) else f"image-{place}"
            for place, image in enumerate(images)
        ]
    else:
        names = [entered(str(each)) for each in ids]
    if len(names) != len(images):
        raise UserError(f"ids: {len(names)} for {len(images)} images; give one for each")
    if (name := twice(names)) is not None:
        raise UserError(f"image {name!r} is there twice; give each image an id of its own (ids)")
    return names


def _decoded(
    images: Sequence[ImageLike], preprocessing: Preprocessing, mode: Mode, pool: ThreadPoolExecutor, views: Views | None
) -> Iterator[DecodedImage | ImageError | Fault]:
    def one(content: Any) -> DecodedImage | ImageError | Fault:
        if isinstance(content, Fault):
            return content
        try:
            if isinstance(content, bytes):
                return decode(content, preprocessing, mode, views)
            return squash(_as_image(content), preprocessing, views)
        except ImageError as error:
            return ImageError(error.status, error.message)

    named = [image for image in images if isinstance(image, str | Path)]
    fetched = iter(_fetched(named))
    contents = [next(fetched) if isinstance(image, str | Path) else image for image in images]
    return pool.map(one, contents)


def _fetched(named: Sequence[str | Path]) -> list[bytes | Fault]:
    if not named:
        return []
    urls = [absolute(str(each)) for each in named]
    found = patiently(lambda asked: get_many([urls[place] for place in asked], at_most=MAX_BYTES), urls)
    return settled(found, urls)


def _as_image(content: Any) -> Image.Image:
    if isinstance(content, Image.Image):
        return content
    shape = ""
    if isinstance(content, np.ndarray):
        channels = 3 if content.ndim == 2 else content.shape[-1]
        if content.dtype == np.uint8 and content.size and content.ndim in (2, 3) and channels in (3, 4):
            return Image.fromarray(content)
        shape = f" of {content.dtype} {list(content.shape)}"
    raise ImageError(
        "undecodable",
        f"{type(content).__name__}{shape} is no image; give a path, a URL, bytes, a PIL image or uint8 [h, w, 3]",
    )
