"""Verbs of training and evaluation."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from clipseg_ray.cli.app import Overrides, app, repeated


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
        print(f"Interrupted; run it again to go on: {repeated('train', config, set_)}", file=sys.stderr)
        raise typer.Exit(130) from None


@app.command(epilog="Example: clipseg-ray evaluate configs/evaluate-scenes.yaml -s model.checkpoint=my-checkpoint/")
def evaluate(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML evaluation, local or at any URL.")],
    set_: Overrides = None,
) -> None:
    """Score a model or a masks dataset against truth shards; print the table and write it to output.url."""
    from clipseg_ray.evaluation import job as evaluation
    from clipseg_ray.evaluation.config import EvaluateConfig

    print(evaluation.evaluate(EvaluateConfig.load(config, set_ or ())).markdown())
