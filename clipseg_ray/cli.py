"""The command line: verbs that parse, call and print."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from clipseg_ray import config as configuration
from clipseg_ray.errors import UserError
from clipseg_ray.report.export import Form

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="CLIPSeg over whole datasets on Ray: images and queries in, a table of masks out.",
)

ConfigPath = Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML run configuration, local or at any URL.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="SECTION.KEY=VALUE", help="Change one setting; may be given many times."),
]


class Format(StrEnum):
    """How an answer is written."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


OutputUrl = Annotated[str, typer.Argument(metavar="OUTPUT", help="The dataset a run wrote (output.url).")]


@app.command(epilog="Example: clipseg-ray run configs/demo.yaml -s masks.threshold=0.4")
def run(config: ConfigPath, set_: Overrides = None) -> None:
    """Segment every image that has no masks yet."""
    from clipseg_ray.pipeline import driver

    loaded = configuration.load(config, set_ or ())
    overrides = "".join(f" -s {override}" for override in set_ or ())
    outcome = driver.run(loaded, invocation=f"clipseg-ray run {config}{overrides}")
    print(outcome.message, file=sys.stdout if outcome.code == 0 else sys.stderr)
    raise typer.Exit(outcome.code)


@app.command(epilog="Example: clipseg-ray plan configs/demo.yaml -s input.sample=1000")
def plan(config: ConfigPath, set_: Overrides = None) -> None:
    """Say what a run would do; reads listings only, writes nothing."""
    from clipseg_ray.pipeline import describe, plan

    print(describe.plan_text(plan.look(configuration.load(config, set_ or ()))))


@app.command(epilog="Example: clipseg-ray status demo-output/masks")
def status(output: OutputUrl) -> None:
    """Say how far the runs into a dataset are, from the dataset alone."""
    from clipseg_ray.results import status

    print(status.text(output))


@app.command(epilog="Example: clipseg-ray show demo-output/masks")
def show(output: OutputUrl, rows: Annotated[int, typer.Option(help="How many rows of masks to show.")] = 5) -> None:
    """Show a few rows, and for each query how many images it was found in."""
    from clipseg_ray.results import summary

    console = _wide_console()
    for title, columns, values in summary.tables(output, rows):
        table = Table(*columns, title=title, title_justify="left")
        for row in values:
            table.add_row(*("" if value is None else str(value) for value in row))
        console.print(table)


@app.command(epilog="Example: clipseg-ray train configs/train-scenes.yaml -s output.url=trained/try")
def train(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML training configuration, local or any URL.")],
    set_: Overrides = None,
) -> None:
    """Train a model, or go on where an earlier run of the same configuration stopped."""
    from clipseg_ray.training import job
    from clipseg_ray.training.config import TrainConfig

    loaded = TrainConfig.load(config, set_ or ())
    try:
        print(f"Trained: {job.run(loaded)}")
    except KeyboardInterrupt:
        overrides = "".join(f" -s {override}" for override in set_ or ())
        print(f"Interrupted; run it again to go on: clipseg-ray train {config}{overrides}", file=sys.stderr)
        raise typer.Exit(130) from None


@app.command(epilog="Example: clipseg-ray evaluate configs/evaluate-scenes.yaml -s model.checkpoint=my-checkpoint/")
def evaluate(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML evaluation, local or at any URL.")],
    set_: Overrides = None,
) -> None:
    """Score a model or a masks dataset against truth shards; print the table and write it to output.url."""
    from clipseg_ray.evaluation.config import EvaluateConfig
    from clipseg_ray.pipeline import evaluation

    print(evaluation.evaluate(EvaluateConfig.load(config, set_ or ())).markdown())


@app.command(epilog="Example: clipseg-ray card demo-output/masks")
def card(output: OutputUrl) -> None:
    """Write a dataset's README.md again; a run does it at its end."""
    from clipseg_ray.report import card
    from clipseg_ray.results import layout
    from clipseg_ray.storage import Store

    store = Store.of(output)
    written = card.write(store)
    print(f"{'wrote' if written else 'left as it is, edited by hand:'} {store.url_of(layout.CARD)}")


@app.command(epilog="Example: clipseg-ray gallery demo-output/masks -o gallery.html")
def gallery(
    output: OutputUrl,
    to: Annotated[str, typer.Option("-o", metavar="DIR|FILE", help="A .html file, or a folder for index.html.")],
    max_mb: Annotated[float, typer.Option(min=0.1, help="What the page may weigh; pictures are made to fit.")] = 10,
) -> None:
    """Write one HTML page to look at what each query found; it needs nothing but a browser."""
    from clipseg_ray.report import gallery

    print(f"wrote {gallery.write(output, to, int(max_mb * 1e6))}")


@app.command(epilog="Example: clipseg-ray export demo-output/masks instances.json --format coco")
def export(
    output: OutputUrl,
    destination: Annotated[str, typer.Argument(metavar="DEST", help="A new or empty folder; a .json file for coco.")],
    form: Annotated[Form, typer.Option("--format", help="What to write.")],
    where: Annotated[str | None, typer.Option(metavar="SQL", help="A condition over the queries' columns.")] = None,
) -> None:
    """Write masks as COCO instances, a Hugging Face dataset, label maps or overlays."""
    from clipseg_ray.report.export import command

    print(command.export(output, destination, form, where))


@app.command(epilog="Example: clipseg-ray queries builtin:properties --where \"kind = 'material'\"")
def queries(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A query table at any path or URL, or builtin:NAME.")],
    where: Annotated[str | None, typer.Option(metavar="SQL", help="A condition over its columns.")] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="CHECKPOINT", help="Count its tokens, and find truncated prompts and near-duplicates."),
    ] = None,
    render: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write what the model will see of the queries' pictures, as PNG.")
    ] = None,
    threshold: Annotated[
        float, typer.Option(metavar="T", help="The run's masks.threshold, for queries without their own.")
    ] = 0.5,
) -> None:
    """Check a query table and show what each query becomes."""
    from clipseg_ray.queries.table import load_queries

    if not 0 < threshold < 1:
        raise UserError(f"--threshold {threshold:g}: give a probability between 0 and 1, both excluded")
    asked = load_queries(table, where, threshold)

    from clipseg_ray.model import checkpoint as checkpoints  # faults of the table need not wait for torch
    from clipseg_ray.queries import inspection

    checkpoint = None if model is None else checkpoints.load(model)
    columns, rows, findings, summary = inspection.look(asked, table, checkpoint)
    console = _wide_console()
    shown = Table(
        *(Column(column, overflow="fold") for column in columns), show_lines=any("\n" in row[2] for row in rows)
    )
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
    for finding in findings:
        console.print(finding, soft_wrap=True)
    if render is not None:
        preprocessing = inspection.RELEASED if checkpoint is None else checkpoint.preprocessing
        written = inspection.render(asked, preprocessing, render)
        source = "the released checkpoints' preprocessing; --model names another" if model is None else model
        size = f"{preprocessing.size}×{preprocessing.size} pixels ({source})"
        console.print(
            f"wrote {len(written)} PNG to {render}, {size}" if written else "no query has a picture to render",
            soft_wrap=True,
        )
    console.print(summary, soft_wrap=True)


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
    coverage: Annotated[bool, typer.Option("--coverage", help="In how many pictures each query was found.")] = False,
    absent: Annotated[bool, typer.Option("--absent", help="Pictures in which nothing was found.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Rows of a canned question.")] = 20,
    format_: Annotated[Format, typer.Option("--format", help="For a person, or for a program.")] = Format.table,
    file: Annotated[str | None, typer.Option("-o", metavar="FILE", help="Write to it, not to standard output.")] = None,
) -> None:
    """Ask the masks, in SQL (DuckDB's) or one of five questions; the SQL of those is printed with the answer.

    SQL sees the views masks, images and queries, and functions on the column counts: mask_iou(a, b), mask_union(a, b),
    mask_intersection, mask_difference, mask_overlap, mask_area(counts), mask_bbox(counts, height), mask_centroid,
    mask_box_coverage(counts, height, x, y, w, h), mask_resize(counts, height, width, new_height, new_width),
    mask_decode(counts, height, width), mask_union_all(list(counts)).
    """
    from clipseg_ray.results import answers, questions
    from clipseg_ray.results.dataset import Masks

    with Masks(output) as masks:
        asked = questions.chosen(masks, limit, top, borderline, co_occur, coverage, absent)
        if len(asked) + (sql is not None) != 1:
            raise UserError("ask one thing: SQL, --top, --borderline, --co-occur, --coverage or --absent")
        statement = sql if sql is not None else asked[0]
        if format_ is not Format.table or file is not None:
            answers.write(masks, statement, "csv" if format_ is Format.table else format_.value, file)
            return
        columns, rows, more = answers.rows(masks, statement)
    console = _wide_console()
    if sql is None:
        console.print(f"{statement};\n", style="dim", soft_wrap=True)
    shown = Table(*(Column(column, overflow="fold") for column in columns))
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
    if more:
        console.print(f"the first {len(rows)} rows; --format csv gives all")


@app.command(epilog="Example: clipseg-ray verify demo-output/masks")
def verify(
    output: OutputUrl,
    fix: Annotated[bool, typer.Option("--fix", help="Remove files that are no part of it, after naming each.")] = False,
) -> None:
    """Read everything back: is all there, is nothing else, does every mask agree with its row. Exit code 1 if not."""
    from clipseg_ray.results import verification

    report = verification.verify(output)
    print(report.text())
    if fix and report.orphans:
        print(f"removing {len(report.orphans)} files:")
        for orphan in report.orphans:
            print(f"  {orphan.path}", flush=True)
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
    from clipseg_ray.results import rethreshold as moving

    print(moving.rethreshold(output, destination, dict.fromkeys(query, threshold) if query else threshold))


def _wide_console() -> Console:
    """A console that prints text as it is, and cuts nothing to 80 columns when its output goes to a file or pipe."""
    return Console(width=None if sys.stdout.isatty() else 10_000, markup=False, emoji=False, highlight=False)


def main() -> None:
    """Run the command line; errors for a person become one line and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
