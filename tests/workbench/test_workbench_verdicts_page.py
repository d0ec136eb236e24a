"""Verdicts on the page, in Chromium: asked by key, estimated, proposed, and remembered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from clipseg_ray.demo.scenes import scene
from clipseg_ray.verdicts.verdict_file import read
from tests.report import browser as chromium
from tests.workbench.served import Served, draw, served

pytestmark = pytest.mark.skipif(chromium.ABSENT is not None, reason=str(chromium.ABSENT))

IMAGES = 16


@pytest.fixture
def workbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with served(str(draw(tmp_path / "photographs", IMAGES))) as found:
        yield found


@pytest.fixture(scope="module")
def page() -> Iterator[WebDriver]:
    with chromium.started() as browser:
        yield browser


def until(page: WebDriver, script: str) -> object:
    """What a script gives, once it gives something true."""
    return WebDriverWait(page, 30, 0.05).until(lambda driver: driver.execute_script(f"return {script}"))


def press(page: WebDriver, key: str) -> None:
    page.switch_to.active_element.send_keys(key)


COUNTED = "document.querySelector('#verdicts [role=status]')?.textContent"


def test_verdicts_by_key_are_estimated_and_kept(workbench: Served, page: WebDriver) -> None:
    there = {f"scene-{n:02d}.png": {truth.query_id for truth in scene(7_000 + n, 256).truth} for n in range(IMAGES)}
    common = max(
        {name for names in there.values() for name in names}, key=lambda n: sum(n in each for each in there.values())
    )
    workbench.json("POST", "queries", {"text": common.replace("-", " "), "query_id": common})
    page.get(workbench.address)
    until(page, "document.querySelector('#queries .pick')")
    assert page.execute_script("return document.getElementById('verdicts').hidden")
    page.find_element(By.CSS_SELECTOR, "#queries .pick").click()
    until(page, "document.getElementById('answers').hasAttribute('data-done')")
    page.find_element(By.CSS_SELECTOR, "#verdicts summary").click()
    until(page, "document.querySelector('[data-verdict=begin]')")
    assert "0 verdicts of 16 asked for" in str(page.execute_script(f"return {COUNTED}"))
    page.find_element(By.CSS_SELECTOR, "[data-verdict=begin]").click()
    for number in range(1, 11):
        shown = str(until(page, "document.querySelector('.judged img')?.alt"))
        assert not page.find_elements(By.CSS_SELECTOR, ".judged canvas"), "a mask would tell what to say"
        press(page, "y" if common in there[shown] else "n")
        until(page, f"{COUNTED}?.startsWith('{number} verdict')")
        if number == 3:
            press(page, "b")
            until(page, f"{COUNTED}?.startsWith('2 verdicts')")
            assert page.execute_script("return document.querySelector('.judged img').alt") == shown
            press(page, "y" if common in there[shown] else "n")
            until(page, f"{COUNTED}?.startsWith('3 verdicts')")
    line = str(until(page, "document.querySelector('#verdicts .at')?.textContent"))
    assert "Right of these: " in line
    assert "Found of the right ones: " in line
    # The slider is followed, and the proposal moves it.
    slider = page.find_element(By.ID, "threshold")
    slider.send_keys(Keys.HOME)
    assert until(page, f"document.querySelector('#verdicts .at').textContent !== {line!r}")
    page.find_element(By.CSS_SELECTOR, "[data-verdict=put-balanced]").click()
    wanted = workbench.json("GET", f"verdicts/{_uid(workbench)}")
    at = float(str(page.execute_script("return document.getElementById('at').textContent")))
    assert at == pytest.approx(wanted["balanced"]["threshold"], abs=0.01)
    # A reload finds all of it, and so does tune.
    page.refresh()
    until(page, "document.getElementById('answers').hasAttribute('data-done')")
    page.find_element(By.CSS_SELECTOR, "#verdicts summary").click()
    until(page, f"{COUNTED}?.startsWith('10 verdicts of 16')")
    (kept,) = read(wanted["file"]).queries
    assert {kept.images[place]: said for place, said in kept.verdicts.items()} == {
        name: common in there[name] for name in kept.images if kept.images.index(name) in kept.verdicts
    }
    assert [message for message in chromium.console(page) if "favicon" not in message] == []


def _uid(workbench: Served) -> str:
    (query,) = workbench.json("GET", "state")["queries"]
    return str(query["uid"])
