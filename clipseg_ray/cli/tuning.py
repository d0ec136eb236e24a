"""The verb that finds thresholds."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Column, Table

from clipseg_ray.cli.app import app, refuse_threshold, say, wide_console
from clipseg_ray.errors import UserError
from clipseg_ray.printable import printable


@app.command(epilog="Example: clipseg-ray tune queries.csv --truth instances.json --images photos/ -o tuned.csv")
def tune(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A query table at any path or URL, or builtin:NAME.")],
    output: Annotated[str, typer.Option("-o", "--output", metavar="TABLE2", help="Where the new table goes.")],
    truth: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TRUTH",
            help="Truth shards (may be given many times), COCO's instances (.json), or a folder with label maps.",
        ),
    ] = None,
    verdicts: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Verdicts saved by the workbench, for the column image_threshold."),
    ] = None,
    precision: Annotated[
        float | None,
        typer.Option(metavar="P", help="Of found images so many right (0 to 1), with --verdicts; else balanced."),
    ] = None,
    images: Annotated[str | None, typer.Option(metavar="DIR", help="Where images lie, if elsewhere.")] = None,
    labels: Annotated[str | None, typer.Option(metavar="DIR", help="Where label maps lie, if elsewhere.")] = None,
    classes: Annotated[str | None, typer.Option(metavar="FILE", help="What the numbers of label maps mean.")] = None,
    ignore_unnamed: Annotated[
        bool | None, typer.Option("--ignore-unnamed", help="Pixels of no class count for nothing: label maps.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="CHECKPOINT", help="The run's model.checkpoint; its default unless given.")
    ] = None,
    threshold: Annotated[
        float, typer.Option(metavar="T", help="The run's masks.threshold, for queries without their own.")
    ] = 0.5,
    replace: Annotated[bool, typer.Option("--replace", help="TABLE2 may be there, and is replaced.")] = False,
) -> None:
    """Find each query's best threshold by truth, or by verdicts which images to take; write the table with it."""
    if (truth is None) == (verdicts is None):
        raise UserError(
            "--truth, --verdicts: give one of them: thresholds of pixels come from truth, of images from either"
        )
    refuse_threshold(threshold)
    given = {"images": images, "labels": labels, "classes": classes, "ignore_unnamed": ignore_unnamed}
    options = {name: value for name, value in given.items() if value is not None}
    from clipseg_ray.queries.table_writing import refuse_existing, write_table

    if not replace:
        refuse_existing(output)
    if truth is not None:
        from clipseg_ray.config import ModelConfig
        from clipseg_ray.evaluation.tuning.by_truth import tune_by_truth

        if precision is not None:
            raise UserError("--precision: goes with --verdicts; by truth the threshold is that of the best masks")
        checkpoint = model or ModelConfig().checkpoint
        tuned = tune_by_truth(table, truth, options, checkpoint=checkpoint, threshold=threshold)
    else:
        from clipseg_ray.evaluation.tuning.by_verdicts import tune_by_verdicts

        assert verdicts is not None
        if extra := [*options, *(["model"] if model else [])]:
            raise UserError(f"--{extra[0].replace('_', '-')}: goes with --truth; verdicts have all in their file")
        tuned = tune_by_verdicts(table, verdicts, precision=precision, threshold=threshold)
    console = wide_console()
    shown = Table(*(Column(title, overflow="fold") for title in tuned.titles))
    for row in tuned.shown:
        shown.add_row(*map(printable, row))
    console.print(shown)
    for remark in tuned.remarks:
        console.print(printable(remark), soft_wrap=True)
    say(f"Written: {write_table(tuned.rows, output, replace=replace)}")
