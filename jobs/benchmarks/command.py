"""The benchmarks' command line: verbs that parse and call."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from clipseg_ray import command_line
from clipseg_ray.errors import UserError

app = command_line.application(
    "Ours and its baselines in turns on the same inputs; a table, then one JSON line. Exit code 1: they disagree."
)


class Device(StrEnum):
    """Where to compute."""

    cpu = "cpu"
    cuda = "cuda"


class Switch(StrEnum):
    """on or off."""

    on = "on"
    off = "off"


DeviceOption = Annotated[Device, typer.Option(help="Where to compute.")]
Precision = Annotated[str, typer.Option(help="Ours in fp32, bf16, fp16 (GPU) or auto; the baselines stay in fp32.")]
Compile = Annotated[Switch, typer.Option(help="Whether ours is compiled.")]
Checkpoint = Annotated[
    str | None, typer.Option(help="A CLIPSeg checkpoint instead of the full-size seeded random one.", metavar="NAME")
]
ImagesDir = Annotated[
    str | None, typer.Option(help="Take the JPEGs under this folder instead of drawn images.", metavar="DIR")
]
JsonFile = Annotated[str | None, typer.Option("--json", help="Append the JSON line to this file.", metavar="FILE")]


@app.command(epilog="Example: python jobs/benchmark.py engine --prompts 1,8 --images 4 --rounds 3 --memory none")
def engine(
    device: DeviceOption = Device.cpu,
    precision: Precision = "fp32",
    compile: Compile = Switch.off,
    prompts: Annotated[str, typer.Option(help="Numbers of prompts an image, with commas.")] = "1,8,32,128",
    images: Annotated[
        int | None, typer.Option(min=1, help="Images a round for ours: 8 on a CPU, 256 on a GPU.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns each contestant takes.")] = 5,
    memory: Annotated[str, typer.Option(help="Numbers of prompts to measure memory at, or none.")] = "1,32,1000",
    checkpoint: Checkpoint = None,
    images_dir: ImagesDir = None,
    json_file: JsonFile = None,
) -> None:
    """JPEG in, RLE and scores out, against transformers as documented and factored by hand."""
    from benchmarks.engine import benchmark

    _ready(device)
    _leave(
        benchmark(
            device=device.value,
            precision=precision,
            compile=compile is Switch.on,
            prompts=_numbers(prompts, "--prompts"),
            images=images,
            rounds=rounds,
            memory_prompts=() if memory == "none" else _numbers(memory, "--memory"),
            checkpoint=checkpoint,
            images_dir=images_dir,
            json_file=json_file,
        )
    )


@app.command(epilog="Example: python jobs/benchmark.py decode --images 32 --rounds 5")
def decode(
    images: Annotated[int, typer.Option(min=1, help="Images a round.")] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="Turns each contestant takes.")] = 7,
    images_dir: ImagesDir = None,
    json_file: JsonFile = None,
) -> None:
    """JPEG to uint8 at the model's size, against Pillow; on a CPU."""
    from benchmarks.decode import benchmark

    _leave(benchmark(images=images, rounds=rounds, images_dir=images_dir, json_file=json_file))


@app.command(epilog="Example: python jobs/benchmark.py rle --masks 128 --rounds 5")
def rle(
    masks: Annotated[int, typer.Option(min=1, help="Masks a round.")] = 128,
    rounds: Annotated[int, typer.Option(min=1, help="Turns each contestant takes.")] = 7,
    json_file: JsonFile = None,
) -> None:
    """Logits to run lengths and scores, against numpy and pycocotools; on a CPU."""
    from benchmarks.rle import benchmark

    _leave(benchmark(masks=masks, rounds=rounds, json_file=json_file))


@app.command(epilog="Example: python jobs/benchmark.py pipeline --prompts 8 --seconds 30 --rounds 1")
def pipeline(
    device: DeviceOption = Device.cpu,
    precision: Precision = "fp32",
    compile: Compile = Switch.off,
    prompts: Annotated[int, typer.Option(min=1, help="Prompts an image.")] = 16,
    images: Annotated[int | None, typer.Option(min=1, help="Images a round, instead of --seconds.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns loop and job take.")] = 2,
    seconds: Annotated[float, typer.Option(min=1, help="How long a round takes in its steady state.")] = 120.0,
    workers: Annotated[int | None, typer.Option(min=1, help="Model processes; default every GPU or core.")] = None,
    checkpoint: Checkpoint = None,
    images_dir: ImagesDir = None,
    json_file: JsonFile = None,
) -> None:
    """The whole job on local Ray against the bare loop in as many processes."""
    from benchmarks.pipeline import benchmark

    _ready(device)
    _leave(
        benchmark(
            device=device.value,
            precision=precision,
            compile=compile is Switch.on,
            prompts=prompts,
            images=images,
            rounds=rounds,
            seconds=seconds,
            workers=workers,
            checkpoint=checkpoint,
            images_dir=images_dir,
            json_file=json_file,
        )
    )


@app.command(epilog="Example: python jobs/benchmark.py read /tmp/images --images 500 --rounds 2 --readers 1")
def read(
    url: Annotated[
        str, typer.Argument(help="A bucket or folder to write the input to and read it from.", metavar="URL")
    ],
    images: Annotated[int, typer.Option(min=1, help="Images, as single objects and in tars.")] = 2000,
    rounds: Annotated[int, typer.Option(min=1, help="Turns each contestant takes.")] = 5,
    readers: Annotated[str, typer.Option(help="Numbers of processes that read at once, with commas.")] = "1,4",
    images_dir: ImagesDir = None,
    json_file: JsonFile = None,
) -> None:
    """Images from storage, single and in tars, against plain ways to the same bytes."""
    from benchmarks.reading import benchmark

    _leave(
        benchmark(
            url=url,
            images=images,
            rounds=rounds,
            readers=_numbers(readers, "--readers"),
            images_dir=images_dir,
            json_file=json_file,
        )
    )


@app.command(epilog="Example: python jobs/benchmark.py plan --checkpoint builtin:scenes --chunks 60")
def plan(
    device: DeviceOption = Device.cpu,
    precision: Precision = "auto",
    prompts: Annotated[int, typer.Option(min=1, help="Prompts an image.")] = 16,
    chunks: Annotated[int, typer.Option(min=6, help="Chunks of the run, rounded up to six shards.")] = 60,
    chunk_images: Annotated[int, typer.Option(min=1, help="Images in a chunk.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Times it is predicted and run.")] = 1,
    checkpoint: Checkpoint = None,
    images_dir: ImagesDir = None,
    json_file: JsonFile = None,
) -> None:
    """The run that plan --measure estimates, against the run: wall time of both, on the Ray at RAY_ADDRESS or here."""
    from benchmarks.plan import benchmark

    _ready(device)
    _leave(
        benchmark(
            device=device.value,
            precision=precision,
            prompts=prompts,
            chunks=chunks,
            chunk_images=chunk_images,
            rounds=rounds,
            checkpoint=checkpoint,
            images_dir=images_dir,
            json_file=json_file,
        )
    )


@app.command(epilog="Example: python jobs/benchmark.py start --rounds 3")
def start(
    rounds: Annotated[int, typer.Option(min=1, help="Processes of each kind.")] = 5,
    checkpoint: Annotated[str, typer.Option(help="The checkpoint that the actors load.", metavar="NAME")] = (
        "builtin:scenes"
    ),
    json_file: JsonFile = None,
) -> None:
    """An actor's start, from a new process to its second chunk, against one that also imports transformers' CLIPSeg."""
    from benchmarks.start import benchmark

    _leave(benchmark(rounds=rounds, checkpoint=checkpoint, json_file=json_file))


@app.command(epilog="Example: python jobs/benchmark.py demo --against ../before --rounds 3")
def demo(
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each.")] = 3,
    against: Annotated[
        str | None, typer.Option(help="Another checkout of this repository, which takes turns.", metavar="DIR")
    ] = None,
    scenes: Annotated[
        str | None, typer.Option(help="The demo's shards, where they are drawn already.", metavar="DIR")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """The demo's job: when each phase is over, from the process's start to its end, and whose CPU time it takes."""
    from benchmarks.demo_job import benchmark

    _leave(benchmark(rounds=rounds, against=against, scenes=scenes, json_file=json_file))


@app.command(epilog="Example: python jobs/benchmark.py query --rows 100000 --rounds 3")
def query(
    rows: Annotated[int, typer.Option(min=1, help="Masks to make.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="Times each question is asked.")] = 5,
    folder: Annotated[
        str | None, typer.Option(help="Keep the masks here and use those of an earlier time.", metavar="DIR")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """The canned questions of `clipseg-ray query` on made-up masks: seconds, bytes a row, bytes read by column."""
    from benchmarks.query import benchmark

    _leave(benchmark(rows=rows, rounds=rounds, folder=folder, json_file=json_file))


@app.command(epilog="Example: python jobs/benchmark.py scale --shards 1000 --run-chunks 400")
def scale(
    shards: Annotated[int, typer.Option(min=2, help="Shards planned, resumed and looked at, simulated.")] = 100_000,
    shard_chunks: Annotated[int, typer.Option(min=1, help="Chunks of each.")] = 10,
    run_chunks: Annotated[
        int, typer.Option(min=0, help="Chunks of the run without pixels, on a Ray of its own; 0 for none.")
    ] = 20_000,
    json_file: JsonFile = None,
) -> None:
    """The driver at scale: its seconds, requests and memory. Exit code 1: over 2 GiB, or under 40 chunks/CPU s."""
    from benchmarks.scale import benchmark

    _leave(benchmark(shards=shards, shard_chunks=shard_chunks, run_chunks=run_chunks, json_file=json_file))


@app.command(epilog="Example: python jobs/benchmark.py gpu --small --device cpu --out results")
def gpu(
    device: DeviceOption = Device.cuda,
    small: Annotated[bool, typer.Option("--small", help="A tiny model and short rounds: under a minute.")] = False,
    out: Annotated[str | None, typer.Option(help="Write gpu.txt and gpu.json here.", metavar="DIR")] = None,
) -> None:
    """Everything that only a GPU can answer, in eight minutes; exit code 1: a part failed or disagrees."""
    from benchmarks.gpu.command import benchmark

    _ready(device)
    _leave(benchmark(device=device.value, small=small, out=out))


@app.command(epilog="Example: python jobs/benchmark.py competing --scenes 100 --tune 50")
def competing(
    scenes: Annotated[int, typer.Option(min=10, help="Scenes to measure on, a multiple of 5.")] = 500,
    tune: Annotated[int, typer.Option(min=10, help="Other scenes, to choose thresholds on.")] = 200,
    json_file: JsonFile = None,
) -> None:
    """Names alone and as one group: IoU and silence on scenes training never saw, with bootstrap intervals."""
    from benchmarks.competing import benchmark

    _leave(benchmark(scenes=scenes, tune=tune, json_file=json_file))


@app.command(epilog="Example: python jobs/benchmark.py verdicts --scenes 500 --repeats 5")
def verdicts(
    scenes: Annotated[int, typer.Option(min=100, help="Scenes that samples are drawn of.")] = 1500,
    repeats: Annotated[int, typer.Option(min=1, help="Samples of each query and size.")] = 15,
    json_file: JsonFile = None,
) -> None:
    """Intervals by so many verdicts on so many images: what they cover, and how wide they are."""
    from benchmarks.verdicts import benchmark

    _leave(benchmark(scenes=scenes, repeats=repeats, json_file=json_file))


@app.command(epilog="Example: python jobs/benchmark.py views --scenes 24")
def views(
    prompts: Annotated[str, typer.Option(help="Numbers of names an image is asked, with commas.")] = "8,32",
    scenes: Annotated[int, typer.Option(min=1, help="Scenes to measure IoU on.")] = 24,
    rounds: Annotated[int, typer.Option(min=1, help="Turns each contestant takes.")] = 3,
    json_file: JsonFile = None,
) -> None:
    """Tiles against the whole image, with and without the cascade: images/s, memory and IoU on drawn scenes."""
    from benchmarks.views import benchmark

    benchmark(prompts=_numbers(prompts, "--prompts"), scenes=scenes, rounds=rounds, json_file=json_file)


@app.command(epilog="Example: python jobs/benchmark.py geometry --masks 512")
def geometry(
    masks: Annotated[int, typer.Option(min=2, help="Masks to work on.")] = 512,
    rounds: Annotated[int, typer.Option(min=1, help="Turns each contestant takes.")] = 5,
    json_file: JsonFile = None,
) -> None:
    """Parts, holes, distances and outlines of masks as run lengths: ours against scipy.ndimage on drawn masks."""
    from benchmarks.geometry import benchmark

    _leave(benchmark(masks=masks, rounds=rounds, json_file=json_file))


@app.command(epilog="Example: python jobs/benchmark.py finer --scenes 24 --side 1056 --mosaic 3")
def finer(
    scenes: Annotated[int, typer.Option(min=2, help="Scenes to measure on.")] = 48,
    side: Annotated[int, typer.Option(min=64, help="Of a scene, in pixels; a multiple of the mosaic's number.")] = 704,
    mosaic: Annotated[int, typer.Option(min=1, help="So many by so many scenes in one image.")] = 1,
    json_file: JsonFile = None,
) -> None:
    """Masks as they are and refined: IoU in all, near borders and of small things, with bootstrap intervals; time."""
    from benchmarks.finer import benchmark

    _leave(benchmark(scenes=scenes, side=side, mosaic=mosaic, json_file=json_file))


def main() -> None:
    """Run the command line; errors for a person become one line and exit code 2."""
    command_line.run(app)


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise UserError(f"{option} {text}: give whole numbers of at least 1 with commas, e.g. 1,8,32")
    return numbers


def _ready(device: Device) -> None:
    import torch

    if device is Device.cuda and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch finds no GPU here; use --device cpu")


def _leave(result: dict[str, Any]) -> None:
    if not result["agrees"]:
        print("error: the results do not agree, see above", file=sys.stderr)
        raise typer.Exit(1)
