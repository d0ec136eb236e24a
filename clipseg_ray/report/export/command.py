"""``clipseg-ray export``: one dataset, one of its other forms."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.progress import track

from clipseg_ray.report.export import Format, coco, huggingface, label_maps, overlays
from clipseg_ray.report.export.walk import Chunk, Walk
from clipseg_ray.storage import Store

_WRITERS: dict[Format, Callable[[Walk, Iterable[Chunk], str], str]] = {
    Format.COCO: coco.write,
    Format.HUGGINGFACE: huggingface.write,
    Format.LABEL_MAPS: label_maps.write,
    Format.OVERLAYS: overlays.write,
}


def export(output: str, destination: str, form: Format, where: str | None) -> str:
    """Write the dataset at ``output`` to ``destination`` (paths or URLs); returns what was written, for a person.

    Raises UserError where no dataset is, for a condition that fails, and where the destination is in the way.
    """
    walk = Walk(Store.of(output), where)
    console = Console(stderr=True)
    chunks = track(walk, "exporting", walk.total, console=console, disable=not sys.stderr.isatty(), transient=True)
    written = _WRITERS[form](walk, chunks, destination)
    if walk.lacking:
        written += (
            f"\nincomplete: {walk.lacking} part(s) of masks are not there yet, and their images are written without; "
            "run the job to its end and export again"
        )
    return written
