"""``clipseg-ray export``: one dataset, one of its other forms."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.progress import track

from clipseg_ray.report.export import Form, coco, huggingface, label_maps, overlays
from clipseg_ray.report.export.walk import ExportChunk, Walk
from clipseg_ray.storage import Store

_WRITERS: dict[Form, Callable[[Walk, Iterable[ExportChunk], str], str]] = {
    Form.COCO: coco.write,
    Form.HUGGINGFACE: huggingface.write,
    Form.LABEL_MAPS: label_maps.write,
    Form.OVERLAYS: overlays.write,
}


def export(output: str, destination: str, form: Form, where: str | None, *, allow_source: Sequence[str] = ()) -> str:
    """Write the dataset at ``output`` to ``destination`` (paths or URLs); returns what was written, for a person.

    ``allow_source``: see :func:`clipseg_ray.open`. Raises UserError where no dataset is, for a condition that fails,
    and where the destination is in the way.
    """
    walk = Walk(Store.of(output), where, allow_source)
    console = Console(stderr=True)
    chunks = track(walk, "exporting", walk.total, console=console, disable=not sys.stderr.isatty(), transient=True)
    written = _WRITERS[form](walk, chunks, destination)
    if walk.missing:
        written += f"\nincomplete: {'; '.join(walk.missing)}; run the job to its end and export again"
    return written
