"""Verbs that read a dataset: show, query, verify, rethreshold, compact, refine, register."""

from __future__ import annotations

import shlex
from enum import StrEnum
from typing import Annotated

import typer

from clipseg_ray.cli.app import AllowSource, OutputUrl, Overrides, app, say, wide_console
from clipseg_ray.errors import UserError


class Format(StrEnum):
    """How an answer is written."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


@app.command(epilog="Example: clipseg-ray show demo-output/masks")
def show(output: OutputUrl, rows: Annotated[int, typer.Option(help="How many rows of masks to show.")] = 5) -> None:
    """Show a few rows, and for each query how many images it was found in."""
    from clipseg_ray.report import terminal_table
    from clipseg_ray.results import summary

    console = wide_console()
    for title, columns, values in summary.tables(output, rows):
        console.print(terminal_table.shown(columns, values, console.width, title))


@app.command(epilog="Example: clipseg-ray query demo-output/masks --co-occur sit-on drink-from")
def query(
    output: OutputUrl,
    sql: Annotated[
        str | None, typer.Argument(metavar="[SQL]", help="Over the views masks, images and queries; see below.")
    ] = None,
    top: Annotated[str | None, typer.Option(metavar="QUERY", help="Where a query has the greatest score.")] = None,
    borderline: Annotated[
        str | None, typer.Option(metavar="QUERY", help="Where its score is nearest to its threshold.")
    ] = None,
    co_occur: Annotated[
        tuple[str, str] | None, typer.Option(metavar="A B", help="Where the masks of two queries overlap.")
    ] = None,
    coverage: Annotated[bool, typer.Option("--coverage", help="In how many images each query was found.")] = False,
    absent: Annotated[bool, typer.Option("--absent", help="Images in which nothing was found.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Rows of a canned question.")] = 20,
    format_: Annotated[Format, typer.Option("--format", help="For a person, or for a program.")] = Format.table,
    spreadsheet: Annotated[
        bool,
        typer.Option("--spreadsheet", help="In CSV, put ' before text that a spreadsheet would compute (= + - @)."),
    ] = False,
    file: Annotated[str | None, typer.Option("-o", metavar="FILE", help="Write to it, not to standard output.")] = None,
) -> None:
    """Ask the masks, in SQL (DuckDB's) or one of five questions; the SQL of those is printed with the answer.

    SQL sees the views masks, images and queries, and functions on the column counts: mask_iou(a, b), mask_union(a, b),
    mask_intersection, mask_difference, mask_overlap, mask_area(counts), mask_bbox(counts, height), mask_centroid,
    mask_box_coverage(counts, height, x, y, w, h), mask_resize(counts, height, width, new_height, new_width),
    mask_decode(counts, height, width), mask_union_all(list(counts)), mask_components(counts, height, min_area) for
    instances, mask_dilate(counts, height, radius), mask_distance(a, b, height), mask_wkt(counts, height, tolerance) and
    others: docs/querying.md.
    """
    from clipseg_ray.dataset import Masks
    from clipseg_ray.report import terminal_table
    from clipseg_ray.results import canned_questions, sql_answers

    with Masks(output) as masks:
        asked = canned_questions.chosen(
            masks.connection,
            masks.url,
            limit=limit,
            top_of=top,
            borderline_of=borderline,
            pair=co_occur,
            want_coverage=coverage,
            want_absent=absent,
        )
        if len(asked) + (sql is not None) != 1:
            raise UserError("ask one thing: SQL, --top, --borderline, --co-occur, --coverage or --absent")
        statement = sql if sql is not None else asked[0]
        if format_ is not Format.table or file is not None:
            form = "csv" if format_ is Format.table else format_.value
            if spreadsheet and form == "csv":
                statement = sql_answers.for_spreadsheets(masks.connection, statement)
            sql_answers.write(masks.connection, statement, form=form, path=file)
            return
        columns, rows, more = sql_answers.rows(masks.connection, statement)
    console = wide_console()
    if sql is None:
        console.print(f"{statement};\n", style="dim", soft_wrap=True)
    console.print(terminal_table.shown(columns, rows, console.width))
    if more:
        console.print(f"the first {len(rows)} rows; --format csv gives all")


@app.command(epilog="Example: clipseg-ray verify demo-output/masks")
def verify(
    output: OutputUrl,
    fix: Annotated[bool, typer.Option("--fix", help="Remove files that are no part of it, after naming each.")] = False,
) -> None:
    """Read everything back: is all there, is nothing else, does every mask agree with its row. Exit code 1 if not."""
    from clipseg_ray.upkeep import verification

    report = verification.verify(output)
    say(report.text())
    if fix and report.orphans:
        print(f"removing {len(report.orphans)} files:")
        for orphan in report.orphans:
            say(f"  {orphan.path}")
        verification.fix(output, report)
        print("removed")
    raise typer.Exit(0 if report.sound or (fix and not report.faults and not report.missing) else 1)


@app.command(epilog="Example: clipseg-ray rethreshold demo-output/masks demo-output/strict --threshold 0.7")
def rethreshold(
    output: OutputUrl,
    destination: Annotated[str, typer.Argument(metavar="DEST", help="Where the new dataset goes.")],
    threshold: Annotated[float, typer.Option(metavar="T", help="Probability above which a pixel is inside.")],
    query: Annotated[
        list[str] | None, typer.Option("--query", metavar="ID", help="Only this query; may be given many times.")
    ] = None,
) -> None:
    """Make a dataset at another threshold without the model, from the maps that masks.heat kept."""
    from clipseg_ray.upkeep import rethreshold as moving

    print(moving.rethreshold(output, destination, dict.fromkeys(query, threshold) if query else threshold))


@app.command(epilog="Example: clipseg-ray compact demo-output/masks demo-output/compact")
def compact(
    output: OutputUrl,
    destination: Annotated[str, typer.Argument(metavar="DEST", help="Where the compacted dataset is, or goes.")],
) -> None:
    """Make a dataset of few large files sorted by query from one of many parts, or bring it up to date; on Ray."""
    from clipseg_ray.upkeep import compact_job as compaction

    print(compaction.compact(output, destination))


@app.command(epilog='Example: clipseg-ray refine demo-output/masks finer --where "score > 0.3" -s masks.refine=guided')
def refine(
    output: OutputUrl,
    destination: Annotated[str, typer.Argument(metavar="DEST", help="Where the new dataset goes.")],
    where: Annotated[
        str, typer.Option(metavar="SQL", help="Which (image, query) pairs: a condition over the columns of masks.")
    ],
    set_: Overrides = None,
    allow_source: AllowSource = None,
    give_up: Annotated[
        bool,
        typer.Option("--give-up", help="Go on without images that cannot be reached: they get status unreachable."),
    ] = False,
) -> None:
    """Make a dataset of some pairs of another, computed again with finer settings, e.g. -s model.views.tiles=2; on Ray.

    What is selected is frozen first; given again, it goes on where it was stopped.
    """
    from clipseg_ray.cluster import connection
    from clipseg_ray.refinement import job

    request = job.Request(
        output=output,
        destination=destination,
        where=where,
        overrides=set_ or (),
        allow_source=allow_source or (),
        give_up=give_up,
    )
    options = [("-s", set_), ("--allow-source", allow_source)]
    again = [part for name, values in options for each in values or () for part in (name, each)]
    outcome = job.refine(request, shlex.join(["clipseg-ray", "refine", output, destination, "--where", where, *again]))
    say(outcome.message, error=outcome.code != 0)
    connection.leave(outcome.code)


@app.command(epilog="Example: clipseg-ray register demo-output/masks --catalog lake --namespace demo")
def register(
    output: OutputUrl,
    catalog: Annotated[str, typer.Option(metavar="NAME", help="A catalog of PyIceberg's configuration.")],
    namespace: Annotated[str, typer.Option(metavar="NAMESPACE", help="Where the tables images and masks are.")],
) -> None:
    """Enter a dataset's files into an Iceberg catalog where they lie, or bring its tables up to date; none is moved."""
    from clipseg_ray.upkeep import iceberg

    for table in iceberg.register(output, catalog, namespace):
        say(str(table))
