"""What the command lines share, the program's and the benchmarks': how they look, start and end."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

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


def as_started() -> str:
    """The program as it can be typed again: by its name where the shell finds it, else by the path that was given."""
    script = sys.argv[0]
    name = Path(script).name
    if name == "__main__.py":
        return shlex.join([sys.orig_argv[0], "-m", Path(script).parent.name])
    return name if shutil.which(name) == script else shlex.quote(script)


def run(app: typer.Typer) -> None:
    """Run a command line; errors for a person become one line and exit code 2, an interrupt one line and 130."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as ended:
        if ended.__context__ is not None and isinstance(ended.__context__.__cause__, KeyboardInterrupt):
            print("Interrupted.", file=sys.stderr)  # Typer makes an exit of it, without a word
        raise
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
