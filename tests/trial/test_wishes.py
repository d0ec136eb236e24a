"""What is typed to try: which of it are photos, which prompts, and what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipseg_ray.errors import UserError
from clipseg_ray.trial.wishes import TrialSettings, wishes


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file without an ending, and a folder named as a prompt is."""
    (tmp_path / "IMG_0001").write_bytes(b"\xff\xd8")
    (tmp_path / "chair").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_photos_and_prompts_are_told_apart() -> None:
    typed = [
        "a.jpg",
        "a red chair",
        "https://example.org/x?id=3",
        "IMG_0001",
        "chair",
        "b.HEIC",
        "s3://b/k",
        "what / is?",
    ]
    found = wishes(typed)
    photos = ("a.jpg", "https://example.org/x?id=3", "IMG_0001", "s3://b/k")
    assert [each for each in found.photos if each != "b.HEIC"] == list(photos)
    assert [each for each in found.prompts if each != "b.HEIC"] == ["a red chair", "chair", "what / is?"]


def test_a_picture_prompt_is_a_row_of_a_table() -> None:
    assert wishes(["a.jpg"], image="in/mug.png", box="1, 2,3.5,4").prompts == (
        {"query_id": "mug", "image": "in/mug.png", "mask": [1.0, 2.0, 3.5, 4.0]},
    )
    assert wishes(["a.jpg", "x"], image="mug.png", mask="m.png").prompts == (
        "x",
        {"query_id": "mug", "image": "mug.png", "mask": "m.png"},
    )


@pytest.mark.parametrize(
    ("typed", "given", "words"),
    [
        (["a red chair"], {}, "no photo is given"),
        (["chair", "x"], {}, "chair is a folder: give what is in it"),
        (["a.jpg"], {}, "nothing is asked of a.jpg"),
        (["a.jpg", " "], {}, "is empty"),
        (["a.jpg", "x"], {"mask": "m.png"}, "give the picture by --image"),
        (["a.jpg", "x"], {"image": "m.png"}, "--mask FILE or --box"),
        (["a.jpg", "x"], {"image": "m.png", "mask": "m.png", "box": "1,2,3,4"}, "one of them"),
        (["a.jpg", "x"], {"image": "m.png", "box": "1,2,3"}, "x,y,w,h"),
        (["a.jpg", "x"], {"image": "m.png", "box": "1,2,3,b"}, "x,y,w,h"),
    ],
)
def test_what_is_missing_is_said(typed: list[str], given: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        wishes(typed, **given)


def test_settings_are_those_of_a_run_that_matter_here() -> None:
    settings = TrialSettings.parse({}, ["model.checkpoint=builtin:scenes", "masks.threshold=0.3"])
    assert (settings.model.checkpoint, settings.masks.threshold) == ("builtin:scenes", 0.3)
    for override in ("model.compile=on", "masks.heat=88", "model.presence=true", "masks.threshold=1"):
        with pytest.raises(UserError, match=override.partition("=")[0]):
            TrialSettings.parse({}, [override])
