"""The command line: verbs that parse, call and print; one module for each kind of verb."""

import sys

from clipseg_ray.cli import asking, jobs, learning, reading, reporting, watching
from clipseg_ray.cli.app import app
from clipseg_ray.errors import UserError

__all__ = ["app", "asking", "jobs", "learning", "main", "reading", "reporting", "watching"]


def main() -> None:
    """Run the command line; errors for a person become one line and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
