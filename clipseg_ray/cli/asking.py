"""The verb that checks query tables."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Column, Table

from clipseg_ray.cli.app import app, refuse_threshold, wide_console
from clipseg_ray.printable import printable


@app.command(epilog="Example: clipseg-ray queries builtin:properties --where \"kind = 'material'\"")
def queries(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A query table at any path or URL, or builtin:NAME.")],
    where: Annotated[str | None, typer.Option(metavar="SQL", help="A condition over its columns.")] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="CHECKPOINT", help="Count its tokens, and find truncated prompts and near-duplicates."),
    ] = None,
    render: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write what the model will see of the support pictures, as PNG.")
    ] = None,
    threshold: Annotated[
        float, typer.Option(metavar="T", help="The run's masks.threshold, for queries without their own.")
    ] = 0.5,
) -> None:
    """Check a query table and show what each query becomes."""
    from clipseg_ray.queries.table import load_queries

    refuse_threshold(threshold)
    asked = load_queries(table, where, threshold)

    from clipseg_ray.model import checkpoint as checkpoints  # faults of the table need not wait for torch
    from clipseg_ray.queries import inspection

    checkpoint = None if model is None else checkpoints.load(model)
    columns, rows, findings, summary = inspection.inspect(asked, table, checkpoint)
    console = wide_console()
    shown = Table(
        *(Column(column, overflow="fold") for column in columns), show_lines=any("\n" in row[2] for row in rows)
    )
    for row in rows:
        shown.add_row(*map(printable, row))
    console.print(shown)
    for finding in findings:
        console.print(printable(finding), soft_wrap=True)
    if render is not None:
        preprocessing = inspection.RELEASED if checkpoint is None else checkpoint.preprocessing
        written = inspection.render(asked, preprocessing, render)
        source = "the released checkpoints' preprocessing; --model names another" if model is None else model
        size = f"{preprocessing.size}×{preprocessing.size} pixels ({source})"
        console.print(
            f"wrote {len(written)} PNG to {render}, {size}" if written else "no query has a support picture to render",
            soft_wrap=True,
        )
    console.print(summary, soft_wrap=True)
