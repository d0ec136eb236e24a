"""A predictor that sees images in tiles and refines borders: a run's rows, and maps that agree with its masks."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.random_checkpoint import write_checkpoint
from clipseg_ray.errors import UserError
from clipseg_ray.inference.predictor import Predictor
from clipseg_ray.trial.attempt import attempt
from clipseg_ray.trial.wishes import TrialSettings, wishes
from tests.made import make
from tests.pipeline import world

SIZES = [(300, 200), (120, 90), (210, 200), (500, 500)]
"""In tiles of at most 2 × 96 pixels a side: 2, 1, 2, 2."""
TEXTS = [text for _, text in world.QUERIES]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("finer") / "photos"
    folder.mkdir()
    for number, size in enumerate(SIZES):
        (folder / f"{number}.jpg").write_bytes(world.jpeg(number, *size))
    return [str(path) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize(
    ("views", "masks", "group"),
    [
        ({"tiles": 2}, {"refine": "guided"}, False),
        ({"tiles": 2, "for": "found", "floor": 0.5}, {"size": "image"}, True),
        (None, {"refine": "guided", "refine_radius": 12}, False),
    ],
)
def test_rows_are_a_runs(
    photos: list[str], checkpoint_dir: Path, tmp_path: Path, views: dict | None, masks: dict, group: bool
) -> None:
    names = {"group": ["names", "names", None]} if group else {}
    table = world.write_table(tmp_path / "queries.jsonl", threshold=[0.45, 0.5, 0.55], **names)
    values = world.settings(str(Path(photos[0]).parent), f"{tmp_path}/out", checkpoint_dir, table, masks=masks)
    values["model"]["views"] = views
    make(values)
    refine = {key: value for key, value in masks.items() if key != "size"}
    predictor = Predictor(str(checkpoint_dir), precision="fp32", views=views, **refine)
    predictor.set_images(photos, ids=[Path(photo).name for photo in photos])
    found = predictor.predict(table=table, size=masks.get("size", "model"))
    written = {(row["image_id"], row["query_id"]): row for row in world.masks(f"{tmp_path}/out").to_pylist()}
    assert len(written) == len(SIZES) * len(world.QUERIES)
    for row in found.to_arrow().to_pylist():
        own = written[row["image_id"], row["query_id"]]
        for name in ("height", "width", "area", "counts"):
            assert row[name] == own[name], name
        assert row["score"] == pytest.approx(own["score"], abs=1e-6)
    limits = np.array([query.threshold for query in found.queries])[:, None, None]
    for place in range(len(photos)):
        probabilities_qhw = found.probabilities(place, masks.get("size", "model"))
        masks_qhw = found.masks(place)
        assert probabilities_qhw.shape == masks_qhw.shape
        off = np.abs(probabilities_qhw - limits) > 1e-5
        assert off.mean() > 0.98
        assert np.array_equal((probabilities_qhw > limits)[off], masks_qhw[off])


def test_an_image_has_the_maps_of_its_grid(photos: list[str], checkpoint_dir: Path) -> None:
    predictor = Predictor(str(checkpoint_dir), precision="fp32", views={"tiles": 2})
    predictor.set_images(photos)
    sides = {}
    for rows in predictor.stream(TEXTS, probabilities="uint8"):
        assert rows.probabilities_phw is not None
        for image in set(rows.image_index_p.tolist()):
            sides[image] = rows.maps_of(image).shape[1:]
    assert sides == {0: (192, 192), 1: (96, 96), 2: (192, 192), 3: (192, 192)}
    assert predictor.predict(TEXTS).probabilities(0, "image").shape == (3, 200, 300)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"views": {"tiles": 5}}, r"model\.views\.tiles"),
        ({"views": {"tile": 2}}, r"model\.views\.tile: .*tiles"),
        ({"views": {"for": "present"}}, r"model\.views\.floor: give the cosine"),
        ({"refine_radius": 12}, r"masks\.refine_radius: of no use without masks\.refine"),
    ],
)
def test_wrong_words_are_named(checkpoint_dir: Path, settings: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Predictor(str(checkpoint_dir), **settings)


def test_a_model_whose_masks_are_smaller_than_its_input_sees_no_tiles(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "odd", image_size=107)
    with pytest.raises(UserError, match=r"model\.views: this model's masks are smaller than its input"):
        Predictor(str(tmp_path / "odd"), precision="fp32", views={"tiles": 2})


def test_a_try_takes_the_settings_of_a_run(
    photos: list[str], checkpoint_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = [f"model.checkpoint={checkpoint_dir}", "model.precision=fp32", "masks.threshold=0.45"]
    finer = [*overrides, "model.views.tiles=2", "masks.refine=guided"]
    settings = TrialSettings.parse({}, finer, source="try")
    done = attempt(wishes([photos[0], *TEXTS], settings=settings), "page.html")
    predictor = Predictor(str(checkpoint_dir), precision="fp32", views={"tiles": 2}, refine="guided")
    predictor.set_images(photos[:1])
    found = predictor.predict(TEXTS, threshold=0.45)
    assert [answer.score for answer in done.answers] == pytest.approx(found.scores[0].tolist(), abs=1e-6)
    plain = attempt(wishes([photos[0], *TEXTS], settings=TrialSettings.parse({}, overrides, source="try")), None)
    assert [answer.score for answer in plain.answers] != [answer.score for answer in done.answers]
    with pytest.raises(UserError, match=r"model\.views\.floor: of no use"):
        TrialSettings.parse({}, [*overrides, "model.views.floor=0.2"], source="try")
