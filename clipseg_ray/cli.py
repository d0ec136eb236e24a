"""The command line: verbs that parse, call and print."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from clipseg_ray import config as configuration
from clipseg_ray.errors import UserError

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

    console = Console()
    for title, columns, values in summary.tables(output, rows):
        table = Table(*columns, title=title, title_justify="left")
        for row in values:
            table.add_row(*("" if value is None else str(value) for value in row))
        console.print(table)


def main() -> None:
    """Run the command line; errors for a person become one line and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
