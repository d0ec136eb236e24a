"""The verb that asks a few photos at once, without a job."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Column, Table

from clipseg_ray.cli.app import Overrides, app, say, wide_console
from clipseg_ray.printable import printable


@app.command(name="try", epilog='Example: clipseg-ray try kitchen.jpg "something to sit on" "a red mug"')
def try_(
    given: Annotated[list[str], typer.Argument(metavar='PHOTO… "TEXT"…', help="Photos, files or URLs, and prompts.")],
    image: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also ask for what a picture shows, where --mask or --box says.")
    ] = None,
    mask: Annotated[str | None, typer.Option(metavar="FILE", help="A PNG of its size; what is not 0 is meant.")] = None,
    box: Annotated[str | None, typer.Option(metavar="X,Y,W,H", help="What is meant, in pixels of the picture.")] = None,
    table: Annotated[
        str | None, typer.Option(metavar="TABLE", help="Also ask a whole query table, or builtin:NAME.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(metavar="T", help="Probability above which a pixel is inside; 0.5 unless given.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="model|image", help="The masks' grid: the model's, or each photo's.")
    ] = None,
    set_: Overrides = None,
    to: Annotated[
        str | None,
        typer.Option("-o", metavar="FILE", help="A .png overlay, or a .html page with a slider for each threshold."),
    ] = None,
) -> None:
    """Ask a few photos on this machine, at once: a table, and overlays to look at. Exit code 1 if one cannot be read.

    The model is that of a configuration's default, fetched on first use; -s model.checkpoint=builtin:scenes is inside
    the package and knows drawn scenes only.
    """
    from clipseg_ray.trial.wishes import TrialSettings, wishes

    own = {"masks.threshold": threshold, "masks.size": size}
    overrides = [*(set_ or ()), *(f"{key}={value}" for key, value in own.items() if value is not None)]
    settings = TrialSettings.parse({}, overrides, source="clipseg-ray try")
    wished = wishes(given, image=image, mask=mask, box=box, table=table, settings=settings)

    from clipseg_ray.trial.attempt import attempt  # what is typed wrong need not wait for torch

    done = attempt(wished, to)
    several = len(wished.photos) > 1
    shown = Table(*([Column("photo", overflow="fold")] if several else []), Column("query", overflow="fold"))
    for column in ("score", "coverage"):
        shown.add_column(column, justify="right")
    for answer in done.answers:
        coverage = f"{answer.coverage:.1%}" if answer.coverage else "not found"
        names = [printable(answer.photo)] if several else []
        shown.add_row(*names, printable(answer.query), f"{answer.score:.2f}", coverage)
    wide_console().print(shown)
    for written in done.written:
        say(f"wrote {written}")
    for note in done.notes:
        say(f"note: {note}", error=True)
    for line in done.unread:
        say(f"not read: {line}", error=True)
    raise typer.Exit(1 if done.unread else 0)
