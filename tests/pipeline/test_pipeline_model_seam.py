"""Any model runs the job: one of a few lines goes through the factory, on Ray, to a dataset that verifies."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clipseg_ray
from clipseg_ray.masks.rle import decode
from clipseg_ray.pipeline import graph
from clipseg_ray.storage import Store
from clipseg_ray.upkeep.verification import verify
from tests.pipeline import world
from tests.pipeline.bright_model import BrightSegmenter

PACKAGE = Path(clipseg_ray.__file__).parent
SIDE = 96


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("phrases", [False, True])
def test_a_model_of_a_few_lines_runs_the_whole_job(tmp_path, checkpoint_dir, monkeypatch, phrases):
    monkeypatch.setattr(graph, "Segmenter", BrightSegmenter)
    images = {f"{i}.png": _half_white(i) for i in range(5)}
    texts = {f"{i}.txt": b"white" for i in range(0, 5, 2)} if phrases else {}
    Store.of(str(tmp_path / "in")).put("s.tar", world.tar_of(dict(sorted({**images, **texts}.items()))))
    queries = {"from": "txt"} if phrases else {"table": world.write_table(tmp_path / "queries.jsonl")}
    settings = world.settings(
        str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, "", queries=queries, masks={"heat": 24}
    )
    if phrases:
        del settings["queries"]["table"]
    assert world.run(settings).code == 0
    found = world.masks(str(tmp_path / "out"))
    assert found.num_rows == (3 if phrases else 5 * len(world.QUERIES))
    for row in found.to_pylist():
        left = (2 + int(row["image_id"].rpartition("/")[2][0])) * 16 // 2
        (mask_hw,) = decode([row["counts"]], SIDE, SIDE)
        expected_hw = np.broadcast_to(np.arange(SIDE) >= left, (SIDE, SIDE))
        np.testing.assert_array_equal(mask_hw, expected_hw)
        assert row["score"] == pytest.approx(1 / (1 + np.exp(-0.5)))
    report = verify(str(tmp_path / "out"))
    assert report.sound, report.text()


def test_the_optional_column_a_model_lacks_is_refused(tmp_path, checkpoint_dir, monkeypatch):
    from clipseg_ray.errors import UserError
    from clipseg_ray.model import factory
    from tests.made import make
    from tests.pipeline.bright_model import make_bright

    monkeypatch.setattr(factory, "make_model", make_bright)
    world.write_tars(str(tmp_path / "in"), shards=1, images=1)
    table = world.write_table(tmp_path / "queries.jsonl")
    settings = world.settings(
        str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, table, model={"presence": True}
    )
    with pytest.raises(UserError, match=r"model\.presence"):
        make(settings)


def test_what_is_clipsegs_own_is_named_where_models_are_held_and_made_alone():
    said = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py") if "film" in path.read_text().lower()}
    assert said == {"model", "training"}


def _half_white(number: int) -> bytes:
    """PNG of the model's own size: black, and white from a column on."""
    pixels_hw = np.zeros((SIDE, SIDE), np.uint8)
    pixels_hw[:, (2 + number) * 16 // 2 :] = 255
    sink = io.BytesIO()
    Image.fromarray(pixels_hw).convert("RGB").save(sink, "PNG")
    return sink.getvalue()
