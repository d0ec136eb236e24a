"""How well ``clipseg-ray plan --measure`` estimates a run: the measurement, then the run.

Each is a process of its own, the command line's, on the same configuration. What is compared is the wall time of the
whole process: Ray's start, the model's, the chunks, the final checks, the card.
"""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from benchmarks import inputs
from benchmarks.harness import aligned, environment, report
from clipseg_ray import config as configuration
from clipseg_ray.errors import UserError

WITHIN = 0.25
"""How far off a prediction may be."""
_SHARDS = 6


def benchmark(
    *,
    device: str = "cpu",
    precision: str = "auto",
    prompts: int = 16,
    chunks: int = 60,
    chunk_images: int = 32,
    rounds: int = 1,
    checkpoint: str | None = None,
    images_dir: str | None = None,
    json_file: str | None = None,
) -> dict[str, Any]:
    """Run it, print it, and return what the JSON line holds. ``chunks`` of the run, about."""
    found = []
    with inputs.checkpoint(checkpoint) as model, TemporaryDirectory(prefix="clipseg-ray-benchmark-") as temporary:
        folder = Path(temporary)
        (folder / "queries.csv").write_text("text\n" + "".join(f"{text}\n" for text in inputs.texts(prompts)))
        a_shard = math.ceil(chunks / _SHARDS)
        _write_shards(folder / "shards", a_shard * chunk_images, images_dir)
        for number in range(rounds):
            config = folder / f"{number}.yaml"
            output = folder / f"masks-{number}"
            settings = configuration.parse(
                {
                    "input": {"url": f"{folder}/shards/*.tar", "chunk_images": chunk_images},
                    "model": {"checkpoint": model, "device": device, "precision": precision},
                    "queries": {"table": str(folder / "queries.csv")},
                    "output": {"url": str(output)},
                }
            )
            config.write_text(yaml.safe_dump(settings.resolved()))
            found.append(_round(config, output))
    errors = [entry["error"] for entry in found]
    result: dict[str, Any] = {
        "benchmark": "plan",
        **environment(device),
        "settings": {
            "device": device,
            "precision": found[0]["precision"],
            "prompts": prompts,
            "images": _SHARDS * a_shard * chunk_images,
            "shards": _SHARDS,
            "chunks": _SHARDS * a_shard,
            "chunk_images": chunk_images,
            "rounds": rounds,
            "pictures": "drawn, 825×550" if images_dir is None else "photographs",
            "checkpoint": "seeded random ViT-B/16, refined head" if checkpoint is None else checkpoint,
        },
        "rounds": found,
        "largest_error": max(errors, key=abs),
        "agrees": max(abs(error) for error in errors) <= WITHIN,
    }
    report(result, [], _notes(result), json_file)
    return result


def _write_shards(folder: Path, images: int, images_dir: str | None) -> None:
    """One tar of images, and links to it under other names: for a run those are other shards."""
    folder.mkdir()
    with tarfile.open(folder / "0000.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for index, jpeg in enumerate(inputs.jpegs(images, images_dir)):
            info = tarfile.TarInfo(f"{index:06d}.jpg")
            info.size = len(jpeg)
            tar.addfile(info, io.BytesIO(jpeg))
    for number in range(1, _SHARDS):
        os.link(folder / "0000.tar", folder / f"{number:04d}.tar")


def _round(config: Path, output: Path) -> dict[str, Any]:
    load = os.getloadavg()[0]
    text, measured_s = _command("plan", str(config), "--measure", "--json")
    found = json.loads(text)
    if output.exists():
        raise UserError("plan --measure wrote into the output")
    between = os.getloadavg()[0]
    _, run_s = _command("run", str(config))
    parts = sorted(part.stat().st_mtime for part in (output / "masks").glob("set=*/*.parquet"))
    measured, predicted = found["measured"], found["predicted"]
    expected = predicted["scales"][-1]
    actors = expected["actors"]
    images = (len(parts) - actors) / len(parts) * predicted["left"]["images"]
    return {
        "precision": measured["precision"],
        "actors": actors,
        "measured_s": measured_s,
        "chunks_predicted": predicted["left"]["chunks"],
        "chunks": len(parts),
        "predicted_s": expected["seconds"],
        "run_s": run_s,
        "error": expected["seconds"] / run_s - 1,
        "predicted_images_per_s": expected["images_per_s"],
        "run_images_per_s": images / (parts[-1] - parts[actors - 1]),
        "predicted_overhead_s": predicted["overhead_s"],
        "run_overhead_s": run_s - (parts[-1] - parts[actors - 1]) * len(parts) / (len(parts) - actors),
        "load_before": load,
        "load_between": between,
        "load_after": os.getloadavg()[0],
        "ms_an_image_by_step": {step: 1000 * seconds for step, seconds in measured["costs"]["wall_s"].items()},
        "cpu_ms_an_image_by_step": {step: 1000 * seconds for step, seconds in measured["costs"]["cpu_s"].items()},
    }


def _command(*arguments: str) -> tuple[str, float]:
    """What a verb of the command line printed, and the seconds its process took."""
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "clipseg_ray", *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    if ended.returncode:
        raise UserError(f"clipseg-ray {arguments[0]} failed (exit code {ended.returncode}); its messages are above")
    return ended.stdout, time.monotonic() - started


def _notes(result: dict[str, Any]) -> list[str]:
    settings = result["settings"]
    rows = [["", "predicted s", "run s", "error", "images/s", "predicted", "overhead s", "predicted", "load"]]
    for number, entry in enumerate(result["rounds"], 1):
        rows.append(
            [
                f"round {number}",
                f"{entry['predicted_s']:.1f}",
                f"{entry['run_s']:.1f}",
                f"{100 * entry['error']:+.0f} %",
                f"{entry['run_images_per_s']:.2f}",
                f"{entry['predicted_images_per_s']:.2f}",
                f"{entry['run_overhead_s']:.1f}",
                f"{entry['predicted_overhead_s']:.1f}",
                f"{entry['load_before']:.1f}, {entry['load_between']:.1f}, {entry['load_after']:.1f}",
            ]
        )
    return [
        aligned(rows),
        "",
        f"{settings['images']} images × {settings['prompts']} prompts in {settings['chunks']} chunks of "
        f"{settings['chunk_images']}, on {settings['device']} in {settings['precision']}, {settings['checkpoint']}. "
        f"Load: before the measurement, before the run, after it. Aim: within {100 * WITHIN:.0f} %.",
    ]
