"""Pictures that were dropped on the page, kept by what they are: no name from outside is ever that of a file."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass

from PIL import Image

from clipseg_ray.errors import UserError
from clipseg_ray.pixels.opening import ImageError, opened, upright_rgb
from clipseg_ray.storage import Store

SHOWN_SIDE = 1024
"""The longer side, at most, of what the page is shown of a picture."""

_ID = re.compile(r"[0-9a-f]{64}")
_FOLDER = "pictures"
PREFIX = "picture:"
"""How the cell of a row begins that names one, before its id."""


@dataclass(frozen=True)
class Kept:
    """A picture: SHA-256 of its bytes as ``id``, its upright size in pixels, and the ending of its kind."""

    id: str
    width: int
    height: int
    ending: str

    @property
    def cell(self) -> str:
        """What stands for it in a row."""
        return f"{PREFIX}{self.id}"


class Pictures:
    """The pictures of one workbench, in the folder ``pictures`` of its ``store``."""

    def __init__(self, store: Store) -> None:
        self._store = store.child(_FOLDER)
        self._kept: dict[str, Kept] = {}

    def keep(self, data: bytes) -> Kept:
        """Keep the bytes of a picture file. Raises UserError for what the job's own decoder takes for none."""
        kept, _ = _looked_at(data)
        if not self._store.exists(kept.id):
            self._store.put(kept.id, data)
        self._kept[kept.id] = kept
        return kept

    def of(self, picture_id: str) -> Kept:
        """The picture of an id. Raises UserError where none is kept."""
        if picture_id not in self._kept:
            self._kept[picture_id], _ = _looked_at(self.data(picture_id))
        return self._kept[picture_id]

    def data(self, picture_id: str) -> bytes:
        """The bytes of its file. Raises UserError where none is kept."""
        if _ID.fullmatch(picture_id) is None:
            raise UserError("that is no picture's id; drop the picture again")
        try:
            return self._store.get(picture_id)
        except FileNotFoundError:
            raise UserError("this picture is not kept any more; drop it again") from None

    def shown(self, picture_id: str) -> bytes:
        """A WebP of it for the page, drawn anew from its pixels, at most ``SHOWN_SIDE`` long."""
        _, rgb = _looked_at(self.data(picture_id))
        rgb.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
        sink = io.BytesIO()
        rgb.save(sink, "WEBP", quality=85, method=2)
        return sink.getvalue()

    def held(self, cells: list[str]) -> dict[str, bytes]:
        """The bytes behind those cells that name a picture here, by cell."""
        return {cell: self.data(cell.removeprefix(PREFIX)) for cell in cells if cell.startswith(PREFIX)}


def _looked_at(data: bytes) -> tuple[Kept, Image.Image]:
    try:
        with opened(data) as image:
            ending = {"JPEG": "jpg", "MPO": "jpg"}.get(image.format or "", (image.format or "").lower())
            rgb, _ = upright_rgb(image)
    except ImageError as error:
        raise UserError(f"this is no picture that can be read: {error}") from error
    return Kept(hashlib.sha256(data).hexdigest(), rgb.width, rgb.height, ending), rgb
