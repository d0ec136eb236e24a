"""What the verbs share: the Typer app they are registered with, arguments that mean the same in each, the console."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer
from rich.console import Console

from clipseg_ray import __version__, command_line
from clipseg_ray.errors import UserError
from clipseg_ray.printable import printable

app = command_line.application("CLIPSeg over whole datasets on Ray: images and queries in, a table of masks out.")

ConfigPath = Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML run configuration, local or at any URL.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="SECTION.KEY=VALUE", help="Change one setting; may be given many times."),
]
AllowSource = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PREFIX", help="Pictures may also lie below it, not only in the dataset's bucket or parent folder."
    ),
]
OutputUrl = Annotated[str, typer.Argument(metavar="OUTPUT", help="The dataset a run wrote (output.url).")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"clipseg-ray {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None: ...


def repeated(verb: str, config: str, set_: list[str] | None) -> str:
    """How to start the same verb again, as it can be pasted into a shell."""
    return shlex.join(["clipseg-ray", verb, config, *(part for override in set_ or () for part in ("-s", override))])


def say(text: str, *, error: bool = False) -> None:
    """Print text for a person, on standard output or the other: none of it steers the terminal."""
    print(printable(text), file=sys.stderr if error else sys.stdout, flush=True)


def wide_console() -> Console:
    """A console that prints text as it is, and cuts nothing to 80 columns when its output goes to a file or pipe."""
    return Console(width=None if sys.stdout.isatty() else 10_000, markup=False, emoji=False, highlight=False)


def refuse_threshold(threshold: float) -> None:
    """Raise UserError unless the option ``--threshold`` is a probability between 0 and 1."""
    if not 0 < threshold < 1:
        raise UserError(f"--threshold {threshold:g}: give a probability between 0 and 1, both excluded")
