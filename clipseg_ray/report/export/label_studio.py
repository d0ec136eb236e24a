"""Label Studio's tasks with predictions (https://labelstud.io/guide/predictions): brush masks that people correct.

label-studio start, a project with config.xml as its labelling interface, then import tasks-00000.json
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from clipseg_ray import __version__
from clipseg_ray.addresses import absolute
from clipseg_ray.errors import UserError
from clipseg_ray.masks import brush, rle
from clipseg_ray.outside_text import native
from clipseg_ray.printable import printable
from clipseg_ray.redaction import redacted
from clipseg_ray.report.export import Images
from clipseg_ray.report.export.files import Files
from clipseg_ray.report.export.json_lists import compact
from clipseg_ray.report.export.objects import by_image, objects_of
from clipseg_ray.report.export.palette import hexadecimal
from clipseg_ray.report.export.pictures import Pictures, are_files
from clipseg_ray.report.export.walk import Category, ExportChunk, Walk
from clipseg_ray.storage import Store, plain_errors

FILE_BYTES = 100 * 10**6
"""A file ends with the task that reaches this: Label Studio takes 200 MB at once."""

_FROM, _TO = "masks", "image"
_LOCAL = "/data/local-files/?d="
"""How Label Studio serves files below its ``LOCAL_FILES_DOCUMENT_ROOT``."""


def write(walk: Walk, chunks: Iterable[ExportChunk], destination: str, *, images: Images | None = None) -> str:
    """Write ``tasks-00000.json`` …, ``config.xml`` and, unless they are files by themselves, ``images/``.

    Returns what was written, for a person. A task is an image, its prediction the masks at image size, each with its
    ``score``; the prediction's is their mean. Copied images are served below the document root DEST, images on this
    machine that are not copied below the root ``/``; those in buckets and on the web go by their URLs. Raises UserError
    where images are to stay in archives.
    """
    if images is Images.NONE and not are_files(walk):
        raise UserError(
            "label-studio shows image files, and these images lie in archives; leave out --images none to have copies"
        )
    copying = images is Images.COPY or not are_files(walk)
    pictures = Pictures(walk)
    masks = 0
    with Files(destination) as files, tempfile.TemporaryDirectory() as folder, plain_errors(files.store.url):
        tasks = _TaskFiles(files.store, Path(folder) / "tasks.json")
        for chunk in chunks:
            urls: Iterable[str | None] = map(_served, chunk.images["source_url"].to_pylist())
            if copying:
                names = pictures.copied(chunk, files, "images/")
                urls = (name and _copy_served(files.store, f"images/{name}") for name in names)
            called = {category.number: printable(category.name) for category in walk.categories.values()}
            for url, (image, found) in zip(urls, by_image(chunk, objects_of(chunk)), strict=True):
                if url is not None:
                    tasks.add(_task(image, url, found, called))
                    masks += len(found)
        tasks.close()
        files.put("config.xml", _config(walk.categories.values()).encode())
    return (
        f"wrote {files.store.url}: {tasks.count:,} tasks in {tasks.number:,} JSON file(s), {masks:,} masks, "
        f"{len(walk.categories):,} labels; config.xml is the project's labelling interface{pictures.left_out}"
    )


class _TaskFiles:
    """Tasks into JSON files of about ``FILE_BYTES``, each made at ``path`` and put when it is whole."""

    def __init__(self, store: Store, path: Path) -> None:
        self._store, self._path = store, path
        self._file: IO[str] | None = None
        self.number = self.count = 0

    def add(self, task: dict[str, Any]) -> None:
        """One more."""
        before = ",\n" if self._file else "["
        if self._file is None:
            self._file = self._path.open("w", encoding="utf-8")
        self._file.write(before + compact(task))
        self.count += 1
        if self._file.tell() >= FILE_BYTES:
            self._put(self._file)

    def close(self) -> None:
        """Put the file that is begun, if one is."""
        if self._file is not None:
            self._put(self._file)

    def _put(self, file: IO[str]) -> None:
        file.write("]\n")
        file.close()
        self._store.put_file(f"tasks-{self.number:05d}.json", self._path)
        self._file = None
        self.number += 1


def _copy_served(store: Store, name: str) -> str:
    return f"{_LOCAL}{quote(name)}" if store.protocol == "file" else store.url_of(name)


def _served(url: str) -> str:
    if "://" in url and not url.startswith("file://"):
        return redacted(url)
    return f"{_LOCAL}{quote(native(absolute(url)).lstrip('/'), errors='surrogateescape')}"


def _task(image: dict[str, Any], url: str, found: list[dict[str, Any]], called: dict[int, str]) -> dict[str, Any]:
    task: dict[str, Any] = {"data": {_TO: url, "image_id": image["image_id"]}}
    if found:
        scores = [row["score"] for row in found]
        results = [_result(row, f"{image['number']}-{place}", called) for place, row in enumerate(found)]
        prediction = {"model_version": f"clipseg-ray {__version__}", "score": round(sum(scores) / len(scores), 6)}
        task["predictions"] = [{**prediction, "result": results}]
    return task


def _result(row: dict[str, Any], name: str, called: dict[int, str]) -> dict[str, Any]:
    (pixels_hw,) = rle.decode([row["counts"]], row["height"], row["width"])
    return {
        "id": name,
        "type": "brushlabels",
        "from_name": _FROM,
        "to_name": _TO,
        "origin": "prediction",
        "original_width": row["width"],
        "original_height": row["height"],
        "image_rotation": 0,
        "score": round(row["score"], 6),
        "value": {"format": "rle", "rle": brush.encode(pixels_hw).tolist(), "brushlabels": [called[row["category"]]]},
    }


def _config(categories: Iterable[Category]) -> str:
    labels = "".join(
        f"    <Label value={quoteattr(printable(each.name))} background={quoteattr(hexadecimal(each.number))}/>\n"
        for each in categories
    )
    return (
        f'<View>\n  <Image name="{_TO}" value="${_TO}" zoom="true"/>\n'
        f'  <BrushLabels name="{_FROM}" toName="{_TO}">\n{labels}  </BrushLabels>\n</View>\n'
    )
