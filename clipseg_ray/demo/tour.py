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
from clipseg_ray.demo.shards import write_shards
from clipseg_ray.evaluation import job as evaluation
from clipseg_ray.evaluation.config import EvaluateConfig
from clipseg_ray.evaluation.report import ReportRow
from clipseg_ray.pipeline import driver
from clipseg_ray.report import asked, contact_sheet
from clipseg_ray.results import reading
from clipseg_ray.results.source_images import SourceImages
from clipseg_ray.storage import Store

FOLDER = Path("demo-output")
CONFIG = FOLDER / "demo.yaml"
SEED = 30_000_000
"""Training, validation and testing have scenes of other seeds."""

QUESTION = """
SELECT image_id, round(coverage, 3) AS coverage, round(score, 2) AS score
FROM masks WHERE query_id = 'sit-on' AND area > 0 ORDER BY coverage DESC LIMIT 5
"""
_SHOWN = (
    "sit-on", "living-creature", "only-living", "ride", "machine-to-ride", "wheels", "like-this-duck", "chair-like-this"
)  # fmt: skip
_ROWS = {
    "names": ["chair", "car", "duck", "teapot", "person", "umbrella"],
    "affordances": [
        "sit-on", "ride", "drive", "drink-from", "cut-with", "place-on", "wear-on-head", "cross-water-with"
    ],
    "attributes": ["flies", "paper-can-swim", "paper-has-wheels", "living-creature", "red", "blue"],
    "parts": ["wheels", "handle", "furniture-legs"],
    "picture prompts": ["like-this-bicycle", "like-this-duck", "like-this-house"],
    "blends": ["chair-like-this", "duck-like-this"],
    "names, as one group": ["only-chair", "only-car", "only-duck", "only-teapot", "only-person", "only-umbrella"],
    "living creature": ["living-creature"],
    "living creature, suppressed": ["only-living"],
    "machine to ride, in words": ["machine-in-words"],
    "machine to ride, an expression": ["machine-to-ride"],
}  # fmt: skip

_BESIDE = {
    "names | each pixel to the best of a group": ("names", "names, as one group"),
    "a living creature | where above chair, car, hat, …": ("living creature", "living creature, suppressed"),
    "'… to ride on that is no animal' | ride AND NOT living-creature": (
        "machine to ride, in words", "machine to ride, an expression"
    ),
}  # fmt: skip
"""Rows to compare: asked alone, and competing or combined."""


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
    print(f"\n{report.markdown()}\n{beside(report.rows)}\n")
    print(outcome.message)
    print(f"Drawing 512 scenes took {drawn - started:.0f} s, the job {done - drawn:.0f} s, Ray's start included.")
    store = Store.of(config.output.url)
    sheet = FOLDER / "contact-sheet.png"
    with reading.connect(store) as connection:
        print(f"\nWhich images hold something to sit on, largest first? DuckDB, over {store.url}:\n{QUESTION}")
        connection.sql(QUESTION).show()
        described = {query.query_id: query for query in asked.described_queries(store)}
        shown = [described[query_id] for query_id in _SHOWN]
        drawn_sheet = contact_sheet.drawn(connection, shown, SourceImages(store).fetch, images=8)
        if drawn_sheet is not None:
            drawn_sheet.save(sheet, optimize=True)
    show = f"{program} show {shlex.quote(store.url)}"
    print(f"Look at {sheet}; the dataset is in {store.url}, as {CONFIG} asks. A first look at it: {show}")
    return 0


def configuration(settings: Sequence[str]) -> RunConfig:
    """The demo's configuration, written to ``CONFIG`` for what comes next, and loaded from there."""
    FOLDER.mkdir(exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("demo.yaml"), CONFIG)
    return RunConfig.load(str(CONFIG), settings)


def beside(rows: Sequence[ReportRow]) -> str:
    """What competing and combining buy: the scores of the same things asked alone beside them."""
    scores = {row.name: row.scores for row in rows}
    lines = ["Alone | with others, in the same pass: IoU_FG and absent, silent (docs/competing.md)"]
    for said, (alone, others) in _BESIDE.items():
        cells = [(scores[name].iou_fg, scores[name].absent_silent) for name in (alone, others)]
        (iou, silent), (iou_with, silent_with) = cells
        lines.append(f"  {said:64}  {iou:.3f} | {iou_with:.3f}   {silent:.3f} | {silent_with:.3f}")
    return "\n".join(lines)


def _evaluation(config: RunConfig, scenes: Path) -> EvaluateConfig:
    return EvaluateConfig.parse(
        {
            "truth": {"scenes": str(scenes)},
            "masks": {"url": config.output.url, "match": "concept"},
            "rows": [{"name": name, "truth": "scenes", "queries": queries} for name, queries in _ROWS.items()],
            "output": {"url": str(FOLDER / "evaluation")},
        }
    )
