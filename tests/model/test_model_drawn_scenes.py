"""Where it is said that the checkpoint inside the package knows drawn scenes only."""

from pathlib import Path

import pytest

from clipseg_ray.demo.shards import write_shards
from clipseg_ray.model.drawn_scenes import KNOWS, NAME, caution


@pytest.mark.parametrize(
    ("checkpoint", "paths", "said"),
    [
        (NAME, ["scenes-00000.tar", "scenes-00001.tar"], False),
        (NAME, ["a/scenes-00000.tar"], False),
        (NAME, ["scenes-00000.tar", "train-00000.tar"], True),
        (NAME, ["photos/0001.jpg"], True),
        (NAME, ["scenes.tar"], True),
        (NAME, ["my-scenes-00000.tar"], True),
        (NAME, [], False),
        ("CIDAS/clipseg-rd64-refined", ["photos/0001.jpg"], False),
    ],
)
def test_it_is_said_of_whatever_the_demo_did_not_draw(checkpoint: str, paths: list[str], said: bool) -> None:
    assert caution(checkpoint, paths) == (KNOWS if said else None)


def test_what_the_demo_draws_is_known(tmp_path: Path) -> None:
    write_shards(tmp_path, shards=2, images=1, seed=1)
    assert caution(NAME, [path.name for path in tmp_path.iterdir()]) is None


def test_the_line_is_one_line_and_names_what_to_take() -> None:
    assert "\n" not in KNOWS
    assert "model.checkpoint: CIDAS/clipseg-rd64-refined" in KNOWS
