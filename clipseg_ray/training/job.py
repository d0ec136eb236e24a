"""The training job: what ``jobs/train.py`` runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from clipseg_ray.errors import UserError
from clipseg_ray.pipeline.cluster import connected, guard_a_local_cluster
from clipseg_ray.training.config import TrainConfig


def run(config: TrainConfig) -> str:
    """Train on the Ray cluster at ``RAY_ADDRESS`` or on this machine; returns where the model is.

    What an earlier run has done is not done again. Raises UserError for what the user can put right.
    """
    guard_a_local_cluster()
    from clipseg_ray.training.ray_train import fit

    with connected():
        fit(config)
    return f"{config.output.url}/model"


def _command(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML training configuration, local or any URL.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="SECTION.KEY=VALUE", help="Change one setting; may be given many times."),
    ] = None,
) -> None:
    """Train a CLIPSeg; run it again to go on where it stopped."""
    print(f"Trained: {run(TrainConfig.load(config, set_ or ()))}")


def main() -> None:
    """Run the command line; errors for a person become one line and exit code 2."""
    try:
        typer.run(_command)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
