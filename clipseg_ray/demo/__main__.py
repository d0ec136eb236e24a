"""The demo: draw unseen scenes, run the job on local Ray, hold the masks against the truth, ask them a question.

    make demo        (or: python -m clipseg_ray.demo [-s SECTION.KEY=VALUE ...])

Settings are those of ``configs/demo.yaml``: ``-s model.checkpoint=CIDAS/clipseg-rd64-refined`` asks the real model.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from clipseg_ray.config import RunConfig
from clipseg_ray.demo.contact_sheet import write_contact_sheet
from clipseg_ray.demo.shards import write_shards
from clipseg_ray.errors import UserError
from clipseg_ray.evaluation import job as evaluation
from clipseg_ray.evaluation.config import EvaluateConfig
from clipseg_ray.pipeline import driver
from clipseg_ray.results import reading
from clipseg_ray.storage import Store

FOLDER = Path("demo-output")
SEED = 30_000_000
"""Training, validation and testing have scenes of other seeds."""

QUESTION = """
SELECT image_id, round(coverage, 3) AS coverage, round(score, 2) AS score
FROM masks WHERE query_id = 'sit-on' AND area > 0 ORDER BY coverage DESC LIMIT 5
"""
_SHOWN = ("sit-on", "paper-has-wheels", "living-creature", "red", "wheels", "like-this-duck", "chair-like-this")
_TRUTH_OF = {
    "like-this-bicycle": "bicycle",
    "like-this-duck": "duck",
    "like-this-house": "house",
    "chair-like-this": "chair",
    "duck-like-this": "duck",
}
"""The truth of queries whose ids are not the vocabulary's."""

_ROWS = {
    "names": ["chair", "car", "duck", "teapot", "person", "umbrella"],
    "affordances": [
        "sit-on", "ride", "drive", "drink-from", "cut-with", "place-on", "wear-on-head", "cross-water-with"
    ],
    "attributes": ["flies", "paper-can-swim", "paper-has-wheels", "living-creature", "red", "blue"],
    "parts": ["wheels", "handle", "furniture-legs"],
    "picture prompts": ["like-this-bicycle", "like-this-duck", "like-this-house"],
    "blends": ["chair-like-this", "duck-like-this"],
}  # fmt: skip


def run(settings: list[str]) -> int:
    """Run the demo in the working directory; 0 when the job was complete."""
    started = time.perf_counter()
    scenes = FOLDER / "scenes"
    if not scenes.is_dir():  # drawn again they would be the same, but newer than what the masks were made of
        drawing = FOLDER / "scenes.drawing"
        write_shards(drawing, shards=4, images=128, seed=SEED)
        drawing.rename(scenes)
    drawn = time.perf_counter()
    config = RunConfig.load("configs/demo.yaml", settings)
    outcome = driver.run(config, invocation="clipseg-ray run configs/demo.yaml")
    if outcome.code:
        print(outcome.message)
        return outcome.code
    done = time.perf_counter()
    report = evaluation.evaluate(_evaluation(config, scenes))
    print(f"\n{report.markdown()}")
    print(outcome.message)
    print(f"Drawing 512 scenes took {drawn - started:.0f} s, the job {done - drawn:.0f} s, Ray's start included.")
    store = Store.of(config.output.url)
    with reading.connect(store) as connection:
        print(f"\nWhich pictures hold something to sit on, largest first? DuckDB, over {store.url}:\n{QUESTION}")
        connection.sql(QUESTION).show()
        sheet = write_contact_sheet(FOLDER / "contact-sheet.png", connection, scenes, _SHOWN)
    print(f"Look at {sheet}; the dataset is in {store.url}. Once more: .venv/bin/clipseg-ray show {store.url}")
    return 0


def _evaluation(config: RunConfig, scenes: Path) -> EvaluateConfig:
    return EvaluateConfig.parse(
        {
            "truth": {"scenes": str(scenes)},
            "masks": {"url": config.output.url, "queries": _TRUTH_OF},
            "rows": [{"name": name, "truth": "scenes", "queries": queries} for name, queries in _ROWS.items()],
            "output": {"url": str(FOLDER / "evaluation")},
        }
    )


def main() -> int:
    """Parse, run; errors for a person become one line and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m clipseg_ray.demo")
    parser.add_argument("-s", "--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    try:
        return run(parser.parse_args().set)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
