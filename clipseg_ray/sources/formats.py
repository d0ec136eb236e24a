"""The table of input formats; each says of itself what it is called and which names it is known by."""

from __future__ import annotations

from clipseg_ray.boundary import Boundary
from clipseg_ray.errors import UserError, nearest
from clipseg_ray.sources.base import MAX_IMAGE_BYTES, Source
from clipseg_ray.sources.images import Images
from clipseg_ray.sources.manifest import Manifest
from clipseg_ray.sources.parquet import Parquet
from clipseg_ray.sources.webdataset import WebDataset

SOURCES: dict[str, type[Source]] = {kind.name: kind for kind in (WebDataset, Parquet, Images, Manifest)}


def known(name: str) -> str:
    """``name``, if there is such a format. Raises ValueError, worded for a person."""
    if name not in SOURCES:
        near = nearest(name, SOURCES)
        hint = f"did you mean {near[0]}? Choose" if near else "choose"
        raise ValueError(f"there is no '{name}'; {hint} one of {', '.join(SOURCES)}")
    return name


def source_of(
    name: str,
    root: str,
    *,
    image_field: str | None = None,
    id_field: str | None = None,
    text_field: str | None = None,
    boundary: Boundary = Boundary(),  # noqa: B008 (frozen)
    max_image_bytes: int = MAX_IMAGE_BYTES,
) -> Source:
    """The source that reads format ``name`` under ``root``: see ``Source``.

    Raises UserError for a name or a field it cannot use.
    """
    try:
        kind = SOURCES[known(name)]
    except ValueError as error:
        raise UserError(f"input.format: {error}") from error
    if kind is Images and (image_field or id_field):
        given = "input.image_field" if image_field else "input.id_field"
        raise UserError(f"{given}: image files have no fields; leave it out, or set input.format: {Manifest.name}")
    return kind(
        root,
        image_field=image_field,
        id_field=id_field,
        text_field=text_field,
        boundary=boundary,
        max_image_bytes=max_image_bytes,
    )
