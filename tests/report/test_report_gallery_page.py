"""The gallery in a real browser: it loads in silence, draws, filters, answers to keys, and lets no text become code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from clipseg_ray.queries.phrase_set import PhraseSet
from clipseg_ray.report import gallery
from tests.report import browser as browsers
from tests.report import world
from tests.report.world import Answer, Picture

pytestmark = pytest.mark.skipif(browsers.ABSENT is not None, reason=str(browsers.ABSENT))

HOSTILE = "</script><img src=x onerror=hacked=1><!-- \"'{{data}}\\u003cb\u2028"
QUERIES = [
    world.query("chair", "something to sit on", "affordance"),
    world.query("dog", "a dog", "animal"),
    world.query("cup", "a cup", "object", 0.3),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[WebDriver]:
    with browsers.started() as started:
        yield started


@pytest.fixture(scope="module")
def pictures() -> list[list[Picture]]:
    made = world.scattered(2, 30, ["chair", "dog", "cup"])
    made[0].append(Picture("s-000.tar/bad", data=b"GIF89a", status="undecodable", error="damaged picture: cut"))
    return made


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory, pictures: list[list[Picture]]) -> str:
    folder = tmp_path_factory.mktemp("gallery")
    return gallery.write(world.write(folder, QUERIES, pictures, chunk_images=16), str(folder / "page"))


@pytest.fixture
def page(browser: WebDriver, html: str) -> WebDriver:
    browser.get(f"file://{html}")
    return browser


def shown(page: WebDriver, selector: str) -> list[Any]:
    return [element for element in page.find_elements(By.CSS_SELECTOR, selector) if element.is_displayed()]


def press(page: WebDriver, *keys: str) -> None:
    ActionChains(page).send_keys(*keys).perform()


def slide(page: WebDriver, name: str, value: int) -> None:
    page.execute_script(
        "const at = document.getElementById(arguments[0]); at.value = arguments[1];"
        "at.dispatchEvent(new Event('input', {bubbles: true}))",
        name,
        value,
    )


def test_it_loads_in_silence_and_asks_the_network_for_nothing(page: WebDriver, html: str) -> None:
    assert browsers.console(page) == []
    assert page.title.endswith("/out · gallery")
    assert [each.get_attribute("id") for each in shown(page, ".query")] == ["q0", "q1", "q2", "failed"]
    assert len(shown(page, "#contents li")) == 4
    assert "3 queries, " in page.find_element(By.ID, "shown").text
    entries = page.execute_script("return performance.getEntriesByType('resource').map(each => each.name)")
    assert [name for name in entries if not name.startswith("data:")] == []
    assert Path(html).name == "index.html"
    assert page.find_element(By.CSS_SELECTOR, "#failed td").text == "s-000.tar/bad"


def test_a_mask_is_drawn_as_it_is(page: WebDriver, pictures: list[list[Picture]]) -> None:
    best = max((picture.answers["dog"].score, picture) for picture in pictures[0][:-1] + pictures[1])[1]
    card = page.find_element(By.CSS_SELECTOR, "#q2 .card")
    page.execute_script("arguments[0].scrollIntoView(); draw(arguments[0].querySelector('.frame'))", card)
    width, height, alpha = page.execute_script(
        "const c = arguments[0].querySelector('canvas');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "return [c.width, c.height, Array.from(d.filter((_, i) => i % 4 === 3))]",
        card,
    )
    drawn = np.array(alpha).reshape(height, width) > 0
    np.testing.assert_array_equal(drawn, best.answers["dog"].mask)
    image = card.find_element(By.CSS_SELECTOR, "img")
    assert image.get_property("complete")
    ratio = image.get_property("naturalWidth") / image.get_property("naturalHeight")
    assert ratio == pytest.approx(best.width / best.height, rel=0.03)


def test_masks_go_and_fade(page: WebDriver) -> None:
    def opacity() -> float:
        page.execute_script("document.getAnimations().forEach(each => each.finish())")
        return float(page.find_element(By.CSS_SELECTOR, ".card canvas").value_of_css_property("opacity"))

    assert opacity() == pytest.approx(0.65)
    page.find_element(By.CSS_SELECTOR, ".switch").click()
    assert opacity() == 0
    press(page, "m")
    assert opacity() == pytest.approx(0.65)
    slide(page, "opacity", 30)
    assert opacity() == pytest.approx(0.3)
    press(page, "]")
    assert opacity() == pytest.approx(0.4)


def test_filters_by_query_kind_and_score(page: WebDriver) -> None:
    search = page.find_element(By.ID, "search")
    search.send_keys("SIT ON")
    assert [each.get_attribute("id") for each in shown(page, ".query[id^=q]")] == ["q0"]
    search.send_keys(Keys.CONTROL, "a")
    search.send_keys(Keys.DELETE)
    kind = Select(page.find_element(By.ID, "kind"))
    kind.select_by_value("animal")
    assert [each.text for each in shown(page, "#contents li a > :first-child")] == ["dog", "Images without masks"]
    kind.select_by_value("")
    before = page.find_element(By.ID, "shown").text
    slide(page, "low", 55)
    slide(page, "high", 80)
    scores = [
        float(each.text) for each in shown(page, ".query:not([hidden]) .group:not([hidden]) .card:not([hidden]) b")
    ]
    assert scores
    assert all(0.55 <= score <= 0.8 for score in scores)
    left = page.find_element(By.ID, "shown").text
    assert left.endswith(f", {len(scores)} samples")
    assert left != before


def test_hovering_shows_score_and_area(page: WebDriver) -> None:
    card = page.find_element(By.CSS_SELECTOR, "#q2 .card")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", card)
    page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    ActionChains(page).move_to_element(card).perform()
    tip = page.find_element(By.ID, "tip")
    assert tip.is_displayed()
    assert "score" in tip.text
    assert "px of 2,304" in tip.text
    ActionChains(page).move_to_element(page.find_element(By.ID, "title")).perform()
    assert not tip.is_displayed()


def test_keys_go_through_queries_and_samples(page: WebDriver) -> None:
    press(page, "j", "j")
    assert page.switch_to.active_element.text.startswith("cup")
    assert page.find_element(By.CSS_SELECTOR, "[aria-current]").get_attribute("hash") == "#q1"
    press(page, "k")
    assert page.switch_to.active_element.text.startswith("chair")
    press(page, Keys.ARROW_RIGHT)
    press(page, Keys.ARROW_RIGHT)
    assert page.execute_script("return cards().indexOf(document.activeElement)") == 1
    press(page, Keys.ENTER)
    viewer = page.find_element(By.ID, "viewer")
    assert viewer.is_displayed()
    assert " of " in viewer.find_element(By.CSS_SELECTOR, ".steps").text
    first = viewer.find_element(By.CSS_SELECTOR, "dd").text
    press(page, Keys.ARROW_RIGHT)
    assert viewer.find_element(By.CSS_SELECTOR, "dd").text != first
    press(page, Keys.ESCAPE)
    assert not viewer.is_displayed()
    assert page.execute_script("return cards().indexOf(document.activeElement)") == 2
    press(page, "/")
    assert page.switch_to.active_element.get_attribute("id") == "search"
    press(page, "m")
    assert page.find_element(By.ID, "masks").is_selected(), "a letter typed is no command"
    assert browsers.console(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_system_s_colours_until_told_otherwise(page: WebDriver, scheme: str) -> None:
    def brightness() -> int:
        colour = page.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
        return int(colour.partition("(")[2].split(",")[0])

    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.execute_script("localStorage.clear(); document.documentElement.removeAttribute('data-theme')")
    assert (brightness() > 128) == (scheme == "light")
    page.find_element(By.ID, "theme").click()
    assert (brightness() > 128) == (scheme == "dark")
    page.refresh()
    assert (brightness() > 128) == (scheme == "dark"), "the choice is kept"
    page.execute_script("localStorage.clear()")


def test_no_text_of_the_dataset_becomes_code(browser: WebDriver, tmp_path: Path) -> None:
    answer = Answer(world.ellipse(0.5, 0.5, 0.3, 0.2), 0.9)
    good = Picture(HOSTILE, answers={HOSTILE: answer}, phrases={HOSTILE: answer})
    bad = Picture(HOSTILE + "2", data=b"x", status="undecodable", error=HOSTILE)
    phrases = PhraseSet(HOSTILE, (HOSTILE + "{}",), 0.5)
    folder = tmp_path / "</script><b>"
    url = world.write(folder, [world.query(HOSTILE, HOSTILE, HOSTILE)], [[good, bad]], phrases=phrases)
    browser.get(f"file://{gallery.write(url, str(tmp_path / 'page.html'))}")
    assert browsers.console(browser) == []
    assert browser.execute_script("return typeof hacked") == "undefined"
    assert browser.find_elements(By.CSS_SELECTOR, "img[src=x]") == []
    ids = browser.execute_script("return page.queries.map(each => each.id)")
    assert ids == [HOSTILE, f"from:{HOSTILE}"]
    heading = browser.execute_script("return document.querySelector('#q0 h2').firstChild.data")
    assert heading == HOSTILE
    assert browser.execute_script("return document.querySelector('#q1 .phrase').textContent") == HOSTILE
    cells = browser.execute_script("return [...document.querySelectorAll('#failed td')].map(each => each.textContent)")
    assert cells == [HOSTILE + "2", "undecodable", HOSTILE]
    for card in browser.find_elements(By.CSS_SELECTOR, ".card"):
        browser.execute_script("showTip(arguments[0]); view(arguments[0]); viewer.close()", card)
    assert browser.find_elements(By.CSS_SELECTOR, "img[src=x]") == []
    assert browsers.console(browser) == []
