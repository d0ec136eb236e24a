"""The gallery in a real browser: it loads in silence, draws, filters, answers to keys, and lets no text become code."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.ndimage
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from clipseg_ray.masks.moving import heat_column, masks_at
from clipseg_ray.masks.rle import decode
from clipseg_ray.queries.phrase_set import PhraseSet
from clipseg_ray.report import gallery
from tests.report import browser as browsers
from tests.report import world
from tests.report.world import Answer, Picture

pytestmark = pytest.mark.skipif(browsers.ABSENT is not None, reason=str(browsers.ABSENT))

HOSTILE = "</script><img src=x onerror=hacked=1><!-- \"'{{data}}\\u003cb\u2028"
QUERIES = [
    world.query("chair", "something to sit on", "affordance"),
    world.query("cup", "a cup", "object", 0.3),
    world.query("dog", "a dog", "animal"),
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


@pytest.fixture(scope="module")
def heated(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with maps of probabilities, and a query that found nothing."""
    folder = tmp_path_factory.mktemp("heated")
    cells = (np.arange(12) - 5.5) ** 2
    heat = (255 / (1 + np.exp((cells[:, None] + 2 * cells[None, :]) / 8 - 2.5))).astype(np.uint8)
    mask = decode(
        masks_at(heat_column(heat[None]), *(np.array([side]) for side in (48, 48)), np.array([0.5])).counts, 48, 48
    )[0]
    answers = {"dog": Answer(mask, 0.92, heat=heat), "unicorn": Answer(world.empty(), 0.12)}
    queries = [world.query("dog"), world.query("unicorn")]
    bad = Picture("bad", data=b"x", status="undecodable", error="damaged picture")
    return gallery.write(world.write(folder, queries, [[Picture("p", answers=answers), bad]], heat=12), str(folder))


@pytest.fixture
def page(browser: WebDriver, html: str) -> WebDriver:
    browser.get(f"file://{html}")
    return browser


def shown(page: WebDriver, selector: str) -> list[Any]:
    return [element for element in page.find_elements(By.CSS_SELECTOR, selector) if element.is_displayed()]


def press(page: WebDriver, *keys: str) -> None:
    ActionChains(page).send_keys(*keys).perform()


def slide(page: WebDriver, name: str, value: float) -> None:
    page.execute_script(
        "const at = document.getElementById(arguments[0]) ?? document.querySelector(arguments[0]);"
        "at.value = arguments[1];"
        "at.dispatchEvent(new Event('input', {bubbles: true}))",
        name,
        value,
    )


def test_it_loads_in_silence_and_asks_the_network_for_nothing(page: WebDriver, html: str) -> None:
    assert browsers.console(page) == []
    assert page.title.endswith("/out · gallery")
    assert [each.get_attribute("id") for each in shown(page, ".query")] == ["q0", "q1", "q2", "failed"]
    assert len(shown(page, "#contents li")) == 4
    assert page.execute_script("return main.lastElementChild.className") == "provenance"
    assert "3 queries, " in page.find_element(By.ID, "shown").text
    entries = page.execute_script("return performance.getEntriesByType('resource').map(each => each.name)")
    assert [name for name in entries if not name.startswith("data:")] == []
    assert Path(html).name == "index.html"
    assert page.find_element(By.CSS_SELECTOR, "#failed td").text == "s-000.tar/bad"


def painted(page: WebDriver, frame: Any) -> np.ndarray:
    """What a frame's canvas shows once it is painted: uint8 [height, width, 4]."""
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", frame)
    width, height, values = page.execute_async_script(
        "const [frame, done] = arguments;"
        "draw(frame).then(() => { const c = frame.querySelector('canvas');"
        "if (!c.width) return done([0, 0, []]);"
        "const pen = new OffscreenCanvas(c.width, c.height).getContext('2d', {willReadFrequently: true});"
        "pen.drawImage(c, 0, 0); const { data } = pen.getImageData(0, 0, c.width, c.height);"
        "done([c.width, c.height, Array.from(data)]) })",
        frame,
    )
    return np.array(values, np.uint8).reshape(height, width, 4)


@pytest.mark.parametrize("look", ["outline", "fill", "dim"])
def test_a_mask_is_drawn_as_it_is(page: WebDriver, pictures: list[list[Picture]], look: str) -> None:
    best = max((picture.answers["dog"].score, picture) for picture in pictures[0][:-1] + pictures[1])[1]
    mask = best.answers["dog"].mask
    card = page.find_element(By.CSS_SELECTOR, "#q2 .card")
    page.execute_script("setLook(arguments[0])", look)
    drawn = painted(page, card.find_element(By.CSS_SELECTOR, ".frame"))
    opaque = drawn[..., 3] > 0
    border = mask & ~scipy.ndimage.binary_erosion(mask, border_value=1)
    if look == "fill":
        np.testing.assert_array_equal(opaque, mask)
    elif look == "outline":
        assert opaque[border].all()
        assert not opaque[~mask].any()
        assert mask.sum() < 100 or not opaque[mask].all()
    else:
        assert (drawn[~mask] == (0, 0, 0, 255)).all()
        np.testing.assert_array_equal(opaque & mask, border)
    image = card.find_element(By.CSS_SELECTOR, "img")
    assert image.get_property("complete")
    ratio = image.get_property("naturalWidth") / image.get_property("naturalHeight")
    assert ratio == pytest.approx(best.width / best.height, rel=0.03)


def test_masks_go_and_fade(page: WebDriver) -> None:
    page.find_element(By.CSS_SELECTOR, "label:has(> input[value=fill])").click()

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
    press(page, "j")
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


def test_by_image_checkboxes_say_which_masks_are_drawn(page: WebDriver, pictures: list[list[Picture]]) -> None:
    page.find_element(By.CSS_SELECTOR, "label:has(> input[value=image])").click()
    assert not shown(page, "#by-query")
    page.find_element(By.CSS_SELECTOR, "label:has(> input[value=fill])").click()
    by_id = {picture.image_id: picture for picture in pictures[0] + pictures[1]}
    tiles = shown(page, ".tile")
    tile = next(each for each in tiles if len(each.find_elements(By.CSS_SELECTOR, "input")) == 3)
    picture = by_id[tile.find_element(By.CSS_SELECTOR, ".name").text]
    frame = tile.find_element(By.CSS_SELECTOR, ".frame")
    masks = {name: answer.mask for name, answer in picture.answers.items()}
    np.testing.assert_array_equal(painted(page, frame)[..., 3] > 0, np.logical_or.reduce([*masks.values()]))
    first = tile.find_element(By.CSS_SELECTOR, "label")
    name = first.find_element(By.CSS_SELECTOR, "span:not(.swatch)").text
    first.find_element(By.CSS_SELECTOR, "input").click()
    ActionChains(page).move_to_element(page.find_element(By.ID, "title")).perform()
    left = np.logical_or.reduce([mask for each, mask in masks.items() if each != name])
    np.testing.assert_array_equal(painted(page, frame)[..., 3] > 0, left)
    swatches = {
        each.value_of_css_property("background-color") for each in tile.find_elements(By.CSS_SELECTOR, ".swatch")
    }
    assert len(swatches) == 3
    page.find_element(By.ID, "search").send_keys("cup")
    shown_ids = [each.text for each in shown(page, ".tile .name")]
    assert shown_ids
    assert all(by_id[image_id].answers["cup"].mask.any() for image_id in shown_ids)
    assert browsers.console(page) == []


def test_a_filter_that_leaves_nothing_says_so_and_goes(page: WebDriver) -> None:
    page.find_element(By.ID, "search").send_keys("no such thing")
    none = page.find_element(By.ID, "none")
    assert "No query is left" in none.text
    none.find_element(By.TAG_NAME, "button").click()
    assert not none.is_displayed()
    assert len(shown(page, ".query[id^=q]")) == 3


def test_a_link_leads_to_its_sample_and_ids_are_copied(page: WebDriver) -> None:
    card = page.find_element(By.CSS_SELECTOR, "#q1 .card")
    link = card.get_attribute("href")
    page.get("about:blank")
    page.get(str(link))
    viewer = page.find_element(By.ID, "viewer")
    assert viewer.is_displayed()
    assert viewer.find_element(By.TAG_NAME, "h2").text == "cup"
    image_id = viewer.find_element(By.CSS_SELECTOR, "dd").text
    page.execute_script("navigator.clipboard.writeText = async (text) => { window.copiedText = text }")
    for button, text in zip(viewer.find_elements(By.CSS_SELECTOR, ".acts button"), (image_id, link), strict=True):
        button.click()
        assert page.execute_script("return window.copiedText") == text
    assert "inside a larger file" in viewer.text
    press(page, Keys.ESCAPE)
    assert "#" not in page.current_url
    page.get(f"{page.current_url}#image=gone&query=cup")
    assert page.find_element(By.ID, "lost").is_displayed()
    assert not viewer.is_displayed()


def test_a_threshold_moves_the_masks_of_maps(browser: WebDriver, heated: str) -> None:
    browser.get(f"file://{heated}")
    browser.execute_script("setLook('fill')")
    frame = browser.find_element(By.CSS_SELECTOR, "#q0 .frame")
    own = painted(browser, frame)[..., 3] > 0
    heat = np.array(
        browser.execute_async_script("bytesOf(page.samples[0].heat).then((map) => arguments[0]([...map.bytes]))")
    )
    column = heat_column(heat.astype(np.uint8).reshape(1, 12, 12))
    for threshold in (0.2, 0.8):
        slide(browser, "#q0 input.limit", threshold)
        wanted = masks_at(column, np.array([48]), np.array([48]), np.array([threshold]))
        moved = painted(browser, frame)[..., 3] > 0
        assert (moved != decode(pa.array(wanted.counts), 48, 48)[0]).mean() < 0.001
        assert moved.sum() > own.sum() if threshold < 0.5 else moved.sum() < own.sum()
        assert browser.find_element(By.CSS_SELECTOR, "#q0 .card p span").text.startswith("≈ ")
    slide(browser, "#q0 input.limit", 0.5)
    np.testing.assert_array_equal(painted(browser, frame)[..., 3] > 0, own)
    assert "≈" not in browser.find_element(By.CSS_SELECTOR, "#q0 .card p span").text


def test_what_found_nothing_says_so(browser: WebDriver, heated: str) -> None:
    browser.get(f"file://{heated}")
    said = browser.find_element(By.CSS_SELECTOR, "#q1 .none").text
    assert said.startswith("Nothing found: no mask of 1 images has a pixel above the threshold 0.5.")
    assert "between 0.10 and 0.15" in said


def test_a_mark_around_a_small_mask_encloses_nothing(page: WebDriver) -> None:
    for box in ([170, 170, 1, 1], [20, 300, 12, 4], [0, 0, 3, 3], [347, 100, 4, 30]):
        values = page.execute_script(
            "const c = make('canvas', {width: 352, height: 352}), pen = c.getContext('2d'); pointAt(pen, arguments[0]);"
            "return Array.from(pen.getImageData(0, 0, 352, 352).data)",
            box,
        )
        drawn = np.array(values, np.uint8).reshape(352, 352, 4)
        free, x, y = drawn[..., 3] < 40, box[0] + box[2] // 2, box[1] + box[3] // 2
        regions, _ = scipy.ndimage.label(free)
        assert regions[y, x] == regions[200, 260] > 0, box
        solid = drawn[drawn[..., 3] > 200].astype(int)
        assert len(solid)
        assert (solid[:, :3].max(1) - solid[:, :3].min(1)).max() < 4, "masks have colours, the mark has none"


def test_a_mask_s_colour_stands_off_the_image(page: WebDriver) -> None:
    for hexadecimal in ("#ff2e74", "#ffb000", "#2040ff", "#20c040", "#ffffff", "#101010"):
        first, distance = page.execute_async_script(
            "const [hex, done] = arguments, c = make('canvas', {width: 30, height: 20}), pen = c.getContext('2d');"
            "pen.fillStyle = hex; pen.fillRect(0, 0, 30, 20); const image = new Image(); image.src = c.toDataURL();"
            "image.decode().then(() => { const [first] = coloursOff(image), [a, b] = [oklab(first), oklab(rgb(hex))];"
            "done([first, Math.hypot(...a.map((each, at) => each - b[at]))]) })",
            hexadecimal,
        )
        assert distance > 0.3, (hexadecimal, first)


def test_the_first_screen_of_a_phone_shows_pictures(page: WebDriver) -> None:
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page.refresh()
        for view in ("query", "image"):
            page.execute_script("setView(arguments[0]); scrollTo(0, 0)", view)
            top = page.execute_script(
                "return document.querySelector(`#by-${arguments[0]} .frame`).getBoundingClientRect().top", view
            )
            assert top < 844 / 2
            assert page.execute_script("return root.scrollWidth") <= 390
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast_and_names_pass_axe(browser: WebDriver, heated: str, theme: str) -> None:
    script = (resources.files("axe_core_python") / "axe.min.js").read_text("utf-8")
    states = (
        "setView('query')",
        "view(entryOf.get(cards()[0]))",
        "viewer.close(); setView('image')",
        "view(entryOf.get(cards()[0]))",
        "viewer.close(); open(byId('help'))",
        "byId('help').close(); byId('search').value = 'no such thing'; filter()",
    )
    browser.get(f"file://{heated}")
    browser.execute_script(script)
    browser.execute_script("setTheme(arguments[0])", theme)
    for act in states:
        found = browser.execute_async_script(
            f"const [done] = arguments; {act}; document.getAnimations().forEach((each) => each.finish());"
            "const how = {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa'], resultTypes: ['violations']};"
            "axe.run(document, how).then((found) => done("
            "found.violations.map((each) => [each.id, each.nodes.map((node) => node.html)])))"
        )
        assert found == [], act
    browser.execute_script("localStorage.clear()")


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
        browser.execute_script("showTip(arguments[0]); view(entryOf.get(arguments[0])); viewer.close()", card)
    browser.get(browser.execute_script("return document.querySelector('.card').href"))
    browser.refresh()
    assert browser.find_element(By.CSS_SELECTOR, "#viewer h2").text.startswith("</script>")
    assert browser.find_elements(By.CSS_SELECTOR, "img[src=x]") == []
    assert browsers.console(browser) == []
