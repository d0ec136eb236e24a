"""What the command lines share, the program's and the benchmarks': how they look, and how they end."""

from __future__ import annotations

import sys

import typer

from clipseg_ray.errors import UserError


def application(about: str) -> typer.Typer:
    """A command line without verbs yet; ``about`` is what its help says first."""
    return typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        help=about,
    )


def run(app: typer.Typer) -> None:
    """Run a command line; errors for a person become one line and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
