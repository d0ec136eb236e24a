"""Format names and the sources that read them."""

from __future__ import annotations

from clipseg_ray.errors import UserError
from clipseg_ray.sources.base import Source
from clipseg_ray.sources.images import Images
from clipseg_ray.sources.manifest import Manifest
from clipseg_ray.sources.parquet import Parquet
from clipseg_ray.sources.webdataset import WebDataset

SOURCES: dict[str, type[Source]] = {kind.name: kind for kind in (WebDataset, Parquet, Images, Manifest)}


def source_of(name: str, root: str, *, image_field: str | None = None, id_field: str | None = None) -> Source:
    """The source that reads format ``name`` under ``root``. Raises UserError for a name or a field it cannot use."""
    if name not in SOURCES:
        raise UserError(f"input.format: there is no '{name}'; choose one of {', '.join(SOURCES)}")
    if name == Images.name and (image_field or id_field):
        given = "input.image_field" if image_field else "input.id_field"
        raise UserError(f"{given}: image files have no fields; leave it out, or set input.format: manifest")
    return SOURCES[name](root, image_field=image_field, id_field=id_field)
