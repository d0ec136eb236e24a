"""The demo: draw unseen scenes, run the job on local Ray, hold the masks against the truth, ask them a question.

    clipseg-ray demo [-s SECTION.KEY=VALUE ...]

Settings are those of ``demo.yaml``: ``-s model.checkpoint=CIDAS/clipseg-rd64-refined`` asks the real model.
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from clipseg_ray.config import RunConfig
from clipseg_ray.demo.contact_sheet import write_contact_sheet
from clipseg_ray.demo.shards import write_shards
from clipseg_ray.evaluation import job as evaluation
from clipseg_ray.evaluation.config import EvaluateConfig
from clipseg_ray.pipeline import driver
from clipseg_ray.results import reading
from clipseg_ray.storage import Store

FOLDER = Path("demo-output")
CONFIG = FOLDER / "demo.yaml"
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


def run(settings: Sequence[str], *, program: str, invocation: str) -> int:
    """Run the demo in the working directory; its exit code, 0 when the job was complete.

    program: the command line as it was started; invocation: how to start the job again.
    """
    started = time.perf_counter()
    config = configuration(settings)
    scenes = FOLDER / "scenes"
    if not scenes.is_dir():  # drawn again they would be the same, but newer than what the masks were made of
        drawing = FOLDER / "scenes.drawing"
        write_shards(drawing, shards=4, images=128, seed=SEED)
        drawing.rename(scenes)
    drawn = time.perf_counter()
    outcome = driver.run(config, invocation=invocation)
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
        print(f"\nWhich images hold something to sit on, largest first? DuckDB, over {store.url}:\n{QUESTION}")
        connection.sql(QUESTION).show()
        sheet = write_contact_sheet(FOLDER / "contact-sheet.png", connection, shards=scenes, queries=_SHOWN)
    show = f"{program} show {shlex.quote(store.url)}"
    print(f"Look at {sheet}; the dataset is in {store.url}, as {CONFIG} asks. A first look at it: {show}")
    return 0


def configuration(settings: Sequence[str]) -> RunConfig:
    """The demo's configuration, written to ``CONFIG`` for what comes next, and loaded from there."""
    FOLDER.mkdir(exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("demo.yaml"), CONFIG)
    return RunConfig.load(str(CONFIG), settings)


def _evaluation(config: RunConfig, scenes: Path) -> EvaluateConfig:
    return EvaluateConfig.parse(
        {
            "truth": {"scenes": str(scenes)},
            "masks": {"url": config.output.url, "queries": _TRUTH_OF},
            "rows": [{"name": name, "truth": "scenes", "queries": queries} for name, queries in _ROWS.items()],
            "output": {"url": str(FOLDER / "evaluation")},
        }
    )
