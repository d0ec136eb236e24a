"""Where images lie, as cards and galleries may say it: a reader elsewhere has no use for paths of this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from clipseg_ray.addresses import absolute, protocol_of
from clipseg_ray.boundary import Boundary
from clipseg_ray.pixels import kinds
from clipseg_ray.redaction import redacted

_NAMES = 2


def shown(url: str, dataset: str) -> str:
    """A URL or path as it is shown in a dataset: URLs without their secrets, paths without what lies above.

    A path below the folder that ``dataset`` lies in is relative to ``dataset``, of any other the last two names are
    left; a name that is no path (``builtin:scenes``, a model of the hub) stays as it is.
    """
    if protocol_of(url) != "file":
        return redacted(url)
    path = url.removeprefix("file://")
    if not path.startswith(("/", "~")):
        return path
    folder = absolute(dataset) if protocol_of(dataset) == "file" else ""
    if folder and path.startswith(f"{os.path.dirname(folder)}/"):  # noqa: PTH120 (a pattern may end in what is no path)
        return os.path.relpath(path, folder)
    return "/".join(["…", *path.strip("/").split("/")[-_NAMES:]])


def without_folders(text: str, folders: Sequence[str]) -> str:
    """``text`` in which paths below these folders begin where they are below them."""
    for folder in sorted(folders, key=len, reverse=True):
        if len(Path(folder).parts) > 1:
            text = text.replace(f"{folder.rstrip('/')}/", "")
    return text


@dataclass(frozen=True)
class Originals:
    """Where a browser opens the originals of a dataset's images from a page that is written to ``destination``.

    Only what the dataset's ``boundary`` allows to be fetched; ``parted``: whether its images lie in larger files.
    """

    boundary: Boundary
    destination: str
    parted: bool

    def whole(self, url: str) -> bool:
        """Whether the object at ``url`` is one image."""
        return not self.parted or url.partition("?")[0].lower().endswith(tuple(f".{each}" for each in kinds.ENDINGS))

    def link(self, url: str) -> str | None:
        """What a link leads to; None for a part of a larger file, and where no browser can or no page should go.

        Files of this machine are relative to the page, if it lies on this machine too: both may be moved together.
        """
        if not self.whole(url) or not self.boundary.allows(url):
            return None
        protocol = protocol_of(url)
        if protocol in ("http", "https"):
            return url if redacted(url) == url else None
        if protocol != "file" or protocol_of(self.destination) != "file":
            return None
        page = Path(absolute(self.destination))
        folder = page.parent if page.suffix.lower() in (".html", ".htm") else page
        return quote(os.path.relpath(url.removeprefix("file://"), folder))
