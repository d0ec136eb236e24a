"""Verbs that make something to look at or to hand on: card, gallery, export."""

from __future__ import annotations

from typing import Annotated

import typer

from clipseg_ray.cli.app import AllowSource, OutputUrl, app
from clipseg_ray.report.export import Form, Images


@app.command(epilog="Example: clipseg-ray card demo-output/masks")
def card(output: OutputUrl, allow_source: AllowSource = None) -> None:
    """Write a dataset's README.md and its contact sheet again; a run does it at its end."""
    from clipseg_ray.report import card
    from clipseg_ray.results import layout
    from clipseg_ray.storage import Store

    store = Store.of(output)
    written = card.write(store, allow_source or ())
    print(f"{'wrote' if written else 'left as it is, edited by hand:'} {store.url_of(layout.CARD)}")


@app.command(epilog="Example: clipseg-ray gallery demo-output/masks -o gallery.html")
def gallery(
    output: OutputUrl,
    to: Annotated[str, typer.Option("-o", metavar="DIR|FILE", help="A .html file, or a folder for index.html.")],
    max_mb: Annotated[float, typer.Option(min=0.1, help="What the page may weigh; images are made to fit.")] = 10,
    allow_source: AllowSource = None,
) -> None:
    """Write one HTML page to look at what each query found; it needs nothing but a browser."""
    from clipseg_ray.report import gallery

    print(f"wrote {gallery.write(output, to, int(max_mb * 1e6), allow_source=allow_source or ())}")


@app.command(epilog="Example: clipseg-ray export demo-output/masks found --format coco --images copy")
def export(
    output: OutputUrl,
    destination: Annotated[str, typer.Argument(metavar="DEST", help="A new or empty folder; a .json file for coco.")],
    form: Annotated[Form, typer.Option("--format", help="What to write.")],
    where: Annotated[str | None, typer.Option(metavar="SQL", help="A condition over the queries' columns.")] = None,
    images: Annotated[
        Images | None, typer.Option(help="Whether the images are written too; each format has its own default.")
    ] = None,
    polygons: Annotated[bool, typer.Option("--polygons", help="Exact outlines instead of run lengths (coco).")] = False,
    instances: Annotated[
        bool, typer.Option("--instances", help="Each connected region of a mask is a mask of its own.")
    ] = False,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Leave out masks with a lower score.")] = 0,
    min_area: Annotated[int, typer.Option(min=0, help="Leave out masks of fewer pixels of their image.")] = 0,
    allow_source: AllowSource = None,
) -> None:
    """Write masks in a form that other tools train on or show."""
    from clipseg_ray.report.export import command
    from clipseg_ray.report.export.selection import Selection

    written = command.export(
        output,
        destination,
        form,
        where,
        allow_source=allow_source or (),
        selection=Selection(min_score=min_score, min_area=min_area, instances=instances),
        images=images,
        polygons=polygons,
    )
    print(written)
