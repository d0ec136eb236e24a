"""Verbs of training and evaluation, and of others' weights."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from clipseg_ray.cli.app import Overrides, app, repeated, say
from clipseg_ray.errors import UserError


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


@app.command(epilog="Example: clipseg-ray convert rd64-uni.pth rd64 --extract-layers 3,6,9")
def convert(
    weights: Annotated[str, typer.Argument(metavar="WEIGHTS", help="A .pth of CLIPSeg's authors: the decoder alone.")],
    destination: Annotated[str, typer.Argument(metavar="DEST", help="Where the checkpoint goes, a new folder.")],
    clip: Annotated[
        str, typer.Option(metavar="CLIP", help="The CLIP it is over: a hub name, a folder, or OpenAI's ViT-B-16.pt.")
    ] = "openai/clip-vit-base-patch16",
    extract_layers: Annotated[
        str | None,
        typer.Option(
            metavar="I,J,…", help="The blocks of CLIP it was trained on; no file says, and all depends on it."
        ),
    ] = None,
) -> None:
    """Make a checkpoint of weights from CLIPSeg's authors, for runs and for transformers' from_pretrained."""
    from clipseg_ray.training import conversion

    layers = None if extract_layers is None else _numbers(extract_layers)
    print(f"Converted: {conversion.convert(weights, destination, clip, layers)}")


def _numbers(text: str) -> list[int]:
    try:
        return [int(each) for each in text.split(",")]
    except ValueError:
        raise UserError(
            f"--extract-layers {text}: give whole numbers with commas between them, such as 3,6,9"
        ) from None


@app.command(epilog="Example: clipseg-ray evaluate configs/evaluate-scenes.yaml -s model.checkpoint=my-checkpoint/")
def evaluate(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML evaluation, local or at any URL.")],
    set_: Overrides = None,
    thresholds: Annotated[
        bool, typer.Option("--thresholds", help="Also print the best threshold of each query.")
    ] = False,
) -> None:
    """Score a model or a masks dataset against truth shards; print the table and write it to output.url."""
    from clipseg_ray.evaluation import job as evaluation
    from clipseg_ray.evaluation.config import EvaluateConfig

    report = evaluation.evaluate(EvaluateConfig.load(config, set_ or ()))
    print(report.markdown())
    if thresholds:
        print(report.thresholds())


@app.command(epilog="Example: clipseg-ray truth voc VOCdevkit/VOC2012 truth/voc --names lists/pascal/val_fixed.txt")
def truth(
    format_: Annotated[str, typer.Argument(metavar="FORMAT", help="phrasecut, voc, coco, lvis, masks or sa-co.")],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The release's folder; of sa-co the JSON file.")],
    destination: Annotated[str, typer.Argument(metavar="DEST", help="Where the shards are, or go.")],
    split: Annotated[
        str | None, typer.Option(help="Which: test of phrasecut, val of voc and lvis, val2017 of coco unless given.")
    ] = None,
    names: Annotated[str | None, typer.Option(metavar="FILE", help="A list of images: voc, masks.")] = None,
    images: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where images lie, if elsewhere; of masks also a glob.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where label maps lie: voc, masks (there also a glob).")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(metavar="FILE", help="What the numbers mean, JSON or ADE20K's table: masks.")
    ] = None,
    ignore_unnamed: Annotated[
        bool | None, typer.Option("--ignore-unnamed", help="Pixels of no class count for nothing: masks.")
    ] = None,
    smallest: Annotated[
        int | None, typer.Option(metavar="PIXELS", help="Of a class to be asked of an image: voc; 2048 unless given.")
    ] = None,
) -> None:
    """Make truth shards of a data set as it was released, or those that are still missing; several on Ray."""
    from clipseg_ray.evaluation.truth_job import write_truth

    given = {
        "split": split,
        "names": names,
        "images": images,
        "labels": labels,
        "classes": classes,
        "ignore_unnamed": ignore_unnamed,
        "smallest": smallest,
    }
    options = {name: value for name, value in given.items() if value is not None}
    say(write_truth(format_, source, destination, options))


@app.command(epilog="Example: clipseg-ray paper configs/paper/*.yaml --data /data --checkpoint rd64-uni")
def paper(
    tables: Annotated[
        list[str], typer.Argument(metavar="TABLE…", help="Published tables as YAML (configs/paper), local or any URL.")
    ],
    data: Annotated[str, typer.Option(metavar="DIR", help="The folder with the releases of the data sets.")],
    checkpoint: Annotated[
        str, typer.Option(metavar="NAME", help="What is measured; {part} in it is the part of a table, such as fold-0.")
    ],
    output: Annotated[
        str, typer.Option(metavar="DIR", help="Where truth shards, evaluations and comparisons go.")
    ] = "build/paper",
) -> None:
    """Measure published tables again whose data is there, and print published, here and difference."""
    from clipseg_ray.evaluation.paper import tables as paper_tables

    places = paper_tables.Places(data=data, checkpoint=checkpoint, output=output)
    outcomes = []
    for outcome in paper_tables.measured(tables, places):
        say(outcome.text)
        outcomes.append(outcome)
    if any(each.failed for each in outcomes) or not any(each.measured for each in outcomes):
        raise typer.Exit(1)
