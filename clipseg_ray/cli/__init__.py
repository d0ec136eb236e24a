"""The command line: verbs that parse, call and print; one module for each kind of verb."""

from clipseg_ray import command_line
from clipseg_ray.cli import asking, benching, comparing, datasets, jobs, learning, reporting, trying, tuning, watching
from clipseg_ray.cli.app import app

__all__ = [
    "app",
    "asking",
    "benching",
    "comparing",
    "datasets",
    "jobs",
    "learning",
    "main",
    "reporting",
    "trying",
    "tuning",
    "watching",
]


def main() -> None:
    """Run the command line; errors for a person become one line and exit code 2."""
    command_line.run(app)
