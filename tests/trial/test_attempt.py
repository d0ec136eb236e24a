"""A try, from the command line to the overlay and the page in a browser."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.support.ui import WebDriverWait

from clipseg_ray import Predictor
from clipseg_ray.errors import UserError
from clipseg_ray.trial import attempt as attempts
from clipseg_ray.trial import page
from clipseg_ray.trial.attempt import attempt
from clipseg_ray.trial.wishes import TrialSettings, wishes
from tests.report import browser


@pytest.fixture
def settings(checkpoint_dir: Path) -> TrialSettings:
    return TrialSettings.parse(
        {}, [f"model.checkpoint={checkpoint_dir}", "model.precision=fp32", "masks.threshold=0.45"]
    )


def asked(here: Path, settings: TrialSettings, *typed: str) -> attempts.Trial:
    return attempt(wishes(typed, settings=settings), None)


def test_numbers_are_a_predictors_and_overlays_lie_beside(
    here: Path, settings: TrialSettings, checkpoint_dir: Path
) -> None:
    done = asked(here, settings, "one/photo.jpg", "<b>two/photo.jpg", "broken.jpg", "a red circle", "a cat")
    predictor = Predictor(str(checkpoint_dir), precision="fp32")
    predictor.set_images(["one/photo.jpg", "<b>two/photo.jpg"])
    found = predictor.predict(["a red circle", "a cat"], threshold=0.45)
    assert [(each.photo, each.query) for each in done.answers] == [
        (photo, query) for photo in ("one/photo.jpg", "<b>two/photo.jpg") for query in ("a red circle", "a cat")
    ]
    assert [each.score for each in done.answers] == found.scores.flatten().tolist()
    assert [each.coverage for each in done.answers] == [*found.coverages(0).tolist(), *found.coverages(1).tolist()]
    assert done.written == (f"{here}/photo-overlay.png", f"{here}/photo-overlay-2.png")
    for place, url in enumerate(done.written):
        assert np.array_equal(np.asarray(Image.open(url)), np.asarray(found.overlay(place)))
    (unread,) = done.unread
    assert unread.startswith("broken.jpg: no JPEG")


def test_an_overlay_never_takes_a_photos_place(here: Path, settings: TrialSettings) -> None:
    before = (here / "one" / "photo.jpg").read_bytes()
    (here / "one" / "photo.png").write_bytes(before)
    with pytest.raises(UserError, match="there is a photo"):
        attempt(wishes(["one/photo.png", "a cat"], settings=settings), "one/photo.png")
    assert (here / "one" / "photo.png").read_bytes() == before
    with pytest.raises(UserError, match=r"name it \.png .* or \.html"):
        attempt(wishes(["one/photo.jpg", "a cat"], settings=settings), "one/photo.jpg")


def test_several_overlays_go_by_the_names_of_their_photos(here: Path, settings: TrialSettings) -> None:
    done = attempt(wishes(["one/photo.jpg", "<b>two/photo.jpg", "a cat"], settings=settings), "out/x.png")
    assert done.written == (f"{here}/out/x-photo.png", f"{here}/out/x-photo-2.png")


def test_nothing_to_read_is_an_error(here: Path, settings: TrialSettings) -> None:
    with pytest.raises(UserError, match=r"1 of 1 image\(s\) cannot be read:\n  broken.jpg: "):
        asked(here, settings, "broken.jpg", "a cat")


def test_what_cannot_be_read_of_a_prompt_is_noted(here: Path, settings: TrialSettings) -> None:
    done = asked(here, settings, "one/photo.jpg", "a cat " * 60)
    assert any("it is truncated" in note for note in done.notes)


def test_a_page_holds_every_map_and_is_bounded(
    here: Path, settings: TrialSettings, checkpoint_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wished = wishes(["one/photo.jpg", "<b>two/photo.jpg", "a cat", "</script><b>x"], settings=settings)
    done = attempt(wished, "page.html")
    assert done.written == (f"{here}/page.html",)
    text = (here / "page.html").read_text()
    content = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert [photo["name"] for photo in content["photos"]] == ["one/photo.jpg", "<b>two/photo.jpg"]
    predictor = Predictor(str(checkpoint_dir), precision="fp32")
    predictor.set_images(["one/photo.jpg", "<b>two/photo.jpg"])
    found = predictor.predict(["a cat", "</script><b>x"], threshold=0.45)
    drawn = 0
    for place, photo in enumerate(content["photos"]):
        for index, each in enumerate(photo["maps"]):
            if each["src"] is None:  # no slider goes so low
                assert found.probabilities(place)[index].max() <= page.LEAST + 0.5 / 255
                continue
            drawn += 1
            kind, _, data = each["src"].partition(",")
            assert kind == "data:image/png;base64"
            map_hw = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
            assert np.abs(map_hw / 255 - found.probabilities(place)[index]).max() <= 0.5 / 255 + 1e-6
    assert drawn >= 2
    monkeypatch.setattr(page, "MAX_BYTES", 1000)
    with pytest.raises(UserError, match="try fewer photos"):
        attempt(wished, "page.html")


@pytest.mark.skipif(browser.ABSENT is not None, reason=browser.ABSENT or "")
def test_the_sliders_of_a_page_draw_the_masks_at_their_thresholds(
    here: Path, settings: TrialSettings, checkpoint_dir: Path
) -> None:
    attempt(wishes(["one/photo.jpg", "a cat", "<img src=x onerror=alert(1)>"], settings=settings), "page.html")
    predictor = Predictor(str(checkpoint_dir), precision="fp32")
    predictor.set_images(["one/photo.jpg"])
    probabilities_qhw = predictor.predict(["a cat", "<img src=x onerror=alert(1)>"]).probabilities()
    with browser.started() as opened:
        opened.get(f"file://{here}/page.html")
        WebDriverWait(opened, 10).until(lambda opened: opened.execute_script("return document.body.dataset.ready"))
        names = [each.text for each in opened.find_elements("css selector", "#queries .name")]
        assert names == ["a cat", "<img src=x onerror=alert(1)>"]
        for limit in (0.44, 0.5, 0.52):
            drawn = opened.execute_script(
                """
                const slider = document.querySelector("#queries input[type=range]");
                slider.value = arguments[0];
                slider.dispatchEvent(new Event("input"));
                const canvas = document.querySelector(".frame canvas");
                if (canvas.hidden) return 0;
                const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                return data.filter((value, at) => at % 4 === 3 && value > 0).length;
                """,
                limit,
            )
            assert drawn == ((probabilities_qhw[0] * 255).round() > 255 * limit).sum()
        # The one line is about this test, which reads what was drawn.
        assert [line for line in browser.console(opened) if "willReadFrequently" not in line] == []
