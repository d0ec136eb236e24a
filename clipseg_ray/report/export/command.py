"""``clipseg-ray export``: one dataset, one of its other forms."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import track

from clipseg_ray.errors import UserError
from clipseg_ray.report.export import (
    Form,
    Images,
    coco,
    huggingface,
    label_maps,
    label_studio,
    overlays,
    sa_1b,
    soft,
    webdataset,
    yolo,
)
from clipseg_ray.report.export.selection import Selection
from clipseg_ray.report.export.walk import Walk
from clipseg_ray.storage import Store


@dataclass(frozen=True)
class _Writer:
    """What writes a form, and which options besides those that choose masks it takes; ``lacks``: which of those not."""

    write: Callable[..., str]
    takes: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


_WRITERS: dict[Form, _Writer] = {
    Form.COCO: _Writer(coco.write, takes=("images", "polygons")),
    Form.YOLO: _Writer(yolo.write, takes=("images",)),
    Form.LABEL_STUDIO: _Writer(label_studio.write, takes=("images",)),
    Form.SA_1B: _Writer(sa_1b.write, takes=("images",)),
    Form.WEBDATASET: _Writer(webdataset.write),
    Form.HUGGINGFACE: _Writer(huggingface.write),
    Form.LABEL_MAPS: _Writer(label_maps.write),
    Form.SOFT: _Writer(soft.write, lacks=("instances",)),
    Form.OVERLAYS: _Writer(overlays.write),
}


def export(
    output: str,
    destination: str,
    form: Form,
    where: str | None,
    *,
    allow_source: Sequence[str] = (),
    selection: Selection = Selection(),  # noqa: B008 (frozen)
    images: Images | None = None,
    polygons: bool = False,
) -> str:
    """Write the dataset at ``output`` to ``destination`` (paths or URLs); returns what was written, for a person.

    ``allow_source``: see :func:`clipseg_ray.open`. ``images``: whether they are copied, as the form has it if None.
    Raises UserError where no dataset is, for a condition that fails or an option that the form has not, and where the
    destination is in the way.
    """
    writer = _WRITERS[form]
    options: dict[str, Any] = {"images": images} if images is not None else {}
    options |= {"polygons": True} if polygons else {}
    _refuse_others(form, writer, options, selection)
    walk = Walk(Store.of(output), where, allow_source, heat=form is Form.SOFT)
    console = Console(stderr=True)
    tracked = track(walk, "exporting", walk.total, console=console, disable=not sys.stderr.isatty(), transient=True)
    if form is Form.COCO:
        options["instances"] = selection.instances
    written = writer.write(walk, (selection.of(chunk) for chunk in tracked), destination, **options)
    if walk.missing:
        written += f"\nincomplete: {'; '.join(walk.missing)}; run the job to its end and export again"
    return written


def _refuse_others(form: Form, writer: _Writer, options: dict[str, Any], selection: Selection) -> None:
    """Raise UserError for an option that the form does not have, naming those that do."""
    for option in options:
        if option not in writer.takes:
            having = ", ".join(name for name, other in _WRITERS.items() if option in other.takes)
            raise UserError(f"--{option}: {form} does not have it, only {having}; leave it out")
    if selection.instances and "instances" in writer.lacks:
        raise UserError(f"--instances: {form} shows probabilities, which are of no region; leave it out")
