"""The verb that holds two sets of masks against each other."""

from __future__ import annotations

from typing import Annotated

import typer

from clipseg_ray.cli.app import AllowSource, app, say, wide_console


@app.command(
    epilog="Example: clipseg-ray compare demo-output/masks demo-output/strict -o compare.html --fail-below 0.98"
)
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A dataset, or a prompt set of it: OUTPUT/masks/set=ps-…")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other; its images have the same image_id.")],
    to: Annotated[
        str | None,
        typer.Option("-o", metavar="DIR|FILE", help="Write a page of the 100 images that differ most: a .html file."),
    ] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID-IN-A=ID-IN-B", help="Which is which, where neither id nor wording says it; as many as need be."
        ),
    ] = None,
    fail_below: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, metavar="IOU", help="Exit code 1 where a query's mean IoU is less, or one lacks some."
        ),
    ] = None,
    allow_source: AllowSource = None,
) -> None:
    """Compare the masks of two datasets or prompt sets, query by query: IoU, found, lost, drift of scores.

    IoU is the mean over images in which either side has found the query; a mask that one alone has counts 0. Masks on
    two grids are held against each other on the larger. The exit code is 0, with --fail-below 1 where a query's mean
    IoU is below it or anything could not be compared.
    """
    from clipseg_ray.comparison import command
    from clipseg_ray.comparison.compared import COLUMNS
    from clipseg_ray.report import terminal_table

    found = command.compare(a, b, given=pair or (), to=to, allow_source=allow_source or ())
    for line in found.changes:
        say(line)
    console = wide_console()
    console.print(terminal_table.shown(COLUMNS, found.rows(), console.width))
    for line in found.lacks:
        say(line)
    if found.page is not None:
        say(f"wrote {found.page}")
    faults = [] if fail_below is None else found.faults(fail_below)
    for fault in faults:
        say(fault, error=True)
    raise typer.Exit(1 if faults else 0)
