"""Refined masks from the steps of the job: what the engine gives for them, in a dataset that says so and verifies."""

import numpy as np
import pytest

from clipseg_ray.errors import UserError
from clipseg_ray.inference.mask_rows import MaskRows
from clipseg_ray.masks.guided import GuidedFilter
from clipseg_ray.model import checkpoint
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.pixels.decode import decode
from clipseg_ray.queries.prompt_set import PromptSet, embed
from clipseg_ray.queries.set_questions import SetQuestions
from clipseg_ray.queries.table import load_queries
from clipseg_ray.results import record
from clipseg_ray.storage import Store
from clipseg_ray.upkeep.verification import verify
from tests.made import make
from tests.pipeline import world

MASKS = {"size": "image", "heat": 24, "threshold": 0.4, "refine": "guided", "refine_radius": 12}


def test_a_run_refines_and_its_record_says_so(tmp_path, checkpoint_dir):
    world.write_tars(str(tmp_path / "in"), shards=1, images=3)
    table = world.write_table(tmp_path / "queries.jsonl")
    output = str(tmp_path / "out")
    settings = world.settings(str(tmp_path / "in"), output, checkpoint_dir, table, masks=MASKS)
    make(settings)
    made = record.require(Store.of(output))
    assert made.masks["refine"] == {"filter": "guided", "radius": 12, "epsilon": 3e-4}
    report = verify(output)
    assert report.sound, report.text()
    by_hand = _by_hand(checkpoint_dir, table, output)
    found = world.masks(output)
    for name in ("area", "counts", "heat", "score"):
        assert found.column(name).equals(by_hand.column(name)), name
    with pytest.raises(UserError, match=r"masks\.refine: the dataset has \{.*12.*this run \{.*16"):
        world.run({**settings, "masks": {**MASKS, "refine_radius": 16}})
    with pytest.raises(UserError, match=r"masks\.refine: the dataset has \{.*this run off"):
        world.run({**settings, "masks": {"size": "image", "heat": 24, "threshold": 0.4}})


def _by_hand(checkpoint_dir, table, output):
    """The rows, by engine and filter alone."""
    loaded = checkpoint.load(str(checkpoint_dir))
    engine = Engine(make_model(loaded, batch=2, decode_chunk=4), {"heat": 24}, GuidedFilter(12, 3e-4))
    queries = tuple(load_queries(table, None, 0.4))
    asked = SetQuestions.of_queries(PromptSet.of(queries, embed(queries, loaded)), engine.embed)
    images = world.images(output)
    pixels = np.stack([decode(world.jpeg(number), loaded.preprocessing).pixels_hwc for number in range(3)])
    rows = MaskRows(images, asked, at_image_size=True, optional={"heat": 24})
    for block in engine.segment(pixels, asked.prompts, asked.threshold_logits_q, want_logits=True):
        rows.add(block)
    return rows.table(True).sort_by([("query_id", "ascending"), ("image_id", "ascending")])
