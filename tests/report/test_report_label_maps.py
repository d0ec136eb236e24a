"""Label maps of a group: at each pixel the member that won, as numpy finds it from the engine's own logits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch.nn.functional as F
from PIL import Image

from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.pixels.decode import decode
from clipseg_ray.queries.prompt_set import PromptSet, embed
from clipseg_ray.queries.table import load_queries
from clipseg_ray.report.export import Form, command
from clipseg_ray.report.export.painting import resized
from clipseg_ray.storage import Store
from tests.made import make
from tests.pipeline import world
from tests.tars import tar_of

NAMES = ["wheels", "circle", "chair"]  # not in the order of their ids: ties go to the first
ROWS = [
    {"query_id": "wheels", "text": "has wheels", "group": "names", "threshold": 0.45},
    {"query_id": "circle", "text": "a red circle", "group": "names", "threshold": 0.5},
    {"query_id": "chair", "text": "a chair", "group": "names", "threshold": 0.4},
    {"query_id": "rest", "text": "a photo", "group": "names", "keep": False},
    {"query_id": "sit", "text": "something to sit on", "threshold": 0.02},
]


@pytest.mark.parametrize("size", ["model", "image"])
def test_a_pixel_has_the_label_of_the_member_that_won(size: str, tmp_path: Path, checkpoint_dir: Path) -> None:
    jpegs = {f"{number}.jpg": world.jpeg(number) for number in range(4)}
    Store.of(str(tmp_path / "in")).put("s-000.tar", tar_of(jpegs))
    table = tmp_path / "t.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    make(world.settings(f"{tmp_path}/in/*.tar", f"{tmp_path}/out", checkpoint_dir, str(table), masks={"size": size}))
    command.export(f"{tmp_path}/out", f"{tmp_path}/maps", Form.LABEL_MAPS, "\"group\" = 'names'")
    names = json.loads((tmp_path / "maps" / "names.json").read_text())["labels"]
    label = {each["query_id"]: each["label"] for each in names}
    assert label.keys() == set(NAMES)

    checkpoint = checkpoints.load(str(checkpoint_dir))
    queries = load_queries(str(table), None, 0.5)
    asked = PromptSet.of(queries, embed(queries, checkpoint))
    place = {query.query_id: index for index, query in enumerate(asked.prompts)}
    engine = Engine(make_model(checkpoint, batch=2, decode_chunk=3))
    seen = set()
    for name, jpeg in jpegs.items():
        image = decode(jpeg, checkpoint.preprocessing)
        logits_pwh = engine.decode(engine.encode(image.pixels_hwc[None]), engine.embed(asked.conditionals_qc))[0]
        if size == "image":
            shape = (image.width, image.height)
            logits_pwh = F.interpolate(logits_pwh[:, None], shape, mode="bilinear", align_corners=False)[:, 0]
        members_mwh = logits_pwh.numpy()[[place[member] for member in (*NAMES, "rest")]]
        winner_wh = members_mwh.argmax(0)
        expected_wh = np.zeros(winner_wh.shape, np.int32)
        for index, member in enumerate(NAMES):
            threshold = next(row["threshold"] for row in ROWS if row["query_id"] == member)
            limit = np.float32(np.log(threshold / (1 - threshold)))
            expected_wh[(winner_wh == index) & (members_mwh[index] > limit)] = label[member]
        expected_hw = resized(expected_wh.T, image.height, image.width)
        with Image.open(tmp_path / "maps" / "labels" / "s-000.tar" / name.replace(".jpg", ".png")) as drawn:
            np.testing.assert_array_equal(np.asarray(drawn), expected_hw)
        seen |= set(np.unique(expected_hw))
    assert len(seen) > 2, "several labels, and pixels that nobody takes"
