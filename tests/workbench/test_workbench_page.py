"""The workbench in a real browser: asked, slid, collected, grouped, saved, by hand and by keys, and no text is code."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from clipseg_ray import Predictor
from clipseg_ray.queries.table import load_queries
from tests.report import browser as browsers
from tests.workbench.served import Served, draw, served

pytestmark = pytest.mark.skipif(browsers.ABSENT is not None, reason=str(browsers.ABSENT))

IMAGES = 6
HOSTILE = "</script><img src=x onerror=hacked=1>'\"&lt;.png"


@pytest.fixture(scope="module")
def browser() -> Iterator[WebDriver]:
    with browsers.started() as started:
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = draw(tmp_path_factory.mktemp("page") / "photos", IMAGES)
    (drawn / "scene-05.png").rename(drawn / HOSTILE.replace("/", "∕"))
    return drawn


@pytest.fixture
def bench(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    with served(str(folder)) as bench:
        yield bench


@pytest.fixture
def page(browser: WebDriver, bench: Served) -> Iterator[WebDriver]:
    browsers.console(browser)
    browser.get(bench.address)
    until(browser, "return document.querySelectorAll('.card').length", IMAGES)
    yield browser
    browser.get("about:blank")  # while its server is there to be told what the page shows


def until(page: WebDriver, script: str, value: Any) -> None:
    WebDriverWait(page, 40, 0.05).until(lambda _: page.execute_script(script) == value, f"{script}: not {value!r}")


def asked(page: WebDriver, words: str) -> None:
    until(page, "return document.getElementById('answers').dataset.done", words)


def ask(page: WebDriver, words: str) -> None:
    prompt = page.find_element(By.ID, "prompt")
    prompt.send_keys(Keys.CONTROL, "a")
    prompt.send_keys(words, Keys.ENTER)
    asked(page, words)


LISTED = "return [...document.querySelectorAll('#queries .pick b')].map((each) => each.textContent)"


def listed(page: WebDriver) -> list[str]:
    return [each.text for each in page.find_elements(By.CSS_SELECTOR, "#queries .pick b")]


def collect(page: WebDriver, *texts: str) -> None:
    for words in texts:
        ask(page, words)
        before = len(listed(page))
        page.find_element(By.ID, "add").click()
        until(page, "return document.querySelectorAll('#queries .pick').length", before + 1)
        asked(page, listed(page)[-1])


def slide(page: WebDriver, place: int) -> None:
    page.execute_script(
        "const at = document.getElementById('threshold'); at.value = arguments[0];"
        "for (const name of ['input', 'change']) at.dispatchEvent(new Event(name, {bubbles: true}))",
        place,
    )


def drawn(page: WebDriver) -> dict[str, np.ndarray]:
    """By image, the mask that its card shows."""
    page.execute_script("for (const card of document.querySelectorAll('.card')) card.scrollIntoView()")
    page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(arguments[0], 50)))")
    found = page.execute_script(
        "return [...document.querySelectorAll('.card')].map((card) => { const c = card.querySelector('canvas');"
        "const copy = new OffscreenCanvas(c.width, c.height).getContext('2d', {willReadFrequently: true});"
        "copy.drawImage(c, 0, 0); const d = copy.getImageData(0, 0, c.width, c.height).data;"
        "return [card.querySelector('img').alt, c.width, c.height,"
        " Array.from(d.filter((_, i) => i % 4 === 3), (a) => a ? '1' : '0').join('')]})"
    )
    return {name: np.array([*bits], "U1").reshape(height, width) == "1" for name, width, height, bits in found}


def drag(page: WebDriver, source: int, target: int, kind: str, place: int) -> None:
    page.execute_script(
        "const picks = document.querySelectorAll('#queries .pick'), [from, to, kind, place] = arguments;"
        "const how = {dataTransfer: new DataTransfer(), bubbles: true, cancelable: true};"
        "const send = (node, name) => node.dispatchEvent(new DragEvent(name, how));"
        "send(picks[from], 'dragstart');"
        "const into = picks[to].closest('.entry').querySelectorAll(`.targets .${kind}`)[place];"
        "send(into, 'dragover'); send(into, 'drop'); send(picks[from], 'dragend');",
        source,
        target,
        kind,
        place,
    )


def test_a_prompt_is_answered_by_every_image_best_first_and_its_masks_are_a_predictor_s(
    page: WebDriver, folder: Path
) -> None:
    ask(page, "something to sit on")
    predictor = Predictor("builtin:scenes")
    files = sorted(folder.iterdir())
    predictor.set_images([str(path) for path in files], ids=[path.name for path in files])
    found = predictor.predict("something to sit on", threshold=0.5)
    scores = dict(zip(found.image_ids, found.scores[:, 0].tolist(), strict=True))
    shown = page.execute_script("return [...document.querySelectorAll('.card img')].map((each) => each.alt)")
    assert shown == sorted(scores, key=lambda name: -scores[name])
    for place, step in [(99, 0.5), (59, 0.3), (158, 0.795)]:
        slide(page, place)
        assert page.find_element(By.ID, "at").text == str(step)
        masks = drawn(page)
        wanted = predictor.predict("something to sit on", threshold=step)
        nonempty = 0
        for index, name in enumerate(wanted.image_ids):
            mask_hw = wanted.masks(index)[0]
            nonempty += bool(mask_hw.any())
            assert np.count_nonzero(masks[name] != mask_hw) <= 2, (name, step)
        assert page.find_element(By.ID, "found").text == f"found in {nonempty} of {IMAGES}"
    assert browsers.console(page) == []


def test_queries_are_collected_grouped_put_below_undone_and_saved(page: WebDriver, bench: Served) -> None:
    collect(page, "a chair", "a bicycle", "a lamp")
    assert listed(page) == ["a-chair", "a-bicycle", "a-lamp"]
    slide(page, 59)
    until(
        page,
        "return [...document.querySelectorAll('#queries .limit')].map((each) => each.textContent)",
        ["0.5", "0.5", "0.3"],
    )
    drag(page, 2, 0, "onto", 0)
    until(page, "return document.querySelectorAll('#queries .grouped').length", 2)
    assert listed(page) == ["a-chair", "a-lamp", "a-bicycle"]
    drag(page, 1, 0, "onto", 1)
    until(page, "return document.querySelector('#queries .below')?.textContent", "only where above a-chair")
    page.find_element(By.ID, "undo").click()
    until(page, "return document.querySelector('#queries .below')", None)
    drag(page, 2, 0, "between", 0)
    until(page, LISTED, ["a-bicycle", "a-chair", "a-lamp"])
    drag(page, 0, 2, "between", 1)
    until(page, LISTED, ["a-chair", "a-lamp", "a-bicycle"])
    page.find_element(By.ID, "undo").click()
    until(page, LISTED, ["a-bicycle", "a-chair", "a-lamp"])
    name = page.find_element(By.ID, "name")
    name.send_keys(Keys.CONTROL, "a")
    name.send_keys("mine.yaml", Keys.ENTER)
    until(page, "return document.getElementById('saved').textContent.startsWith('Saved ')", True)
    by_id = {query.query_id: query for query in load_queries("mine.yaml", None, 0.5)}
    assert [*by_id] == ["a-bicycle", "a-chair", "a-lamp"]
    assert by_id["a-lamp"].threshold == 0.3
    assert by_id["a-lamp"].group == by_id["a-chair"].group == "a-chair-group"
    name.send_keys(Keys.ENTER)
    until(page, "return document.getElementById('notice').textContent.includes('is there already')", True)
    page.refresh()
    until(page, "return document.querySelectorAll('#queries .pick').length", 3)
    assert page.execute_script("return document.querySelectorAll('#queries .grouped').length") == 2


def test_a_picture_with_a_box_is_asked_and_blended(page: WebDriver, bench: Served, folder: Path) -> None:
    page.find_element(By.ID, "file").send_keys(str(folder / "scene-00.png"))
    asked(page, "a picture")
    editor = page.find_element(By.ID, "editor")
    width = editor.size["width"]
    ActionChains(page).move_to_element_with_offset(editor, -width // 4, -width // 4).click_and_hold().move_by_offset(
        width // 4, width // 8
    ).release().perform()
    values = [int(page.find_element(By.CSS_SELECTOR, f"#box [name={each}]").get_property("value")) for each in "xywh"]
    assert values == pytest.approx([64, 64, 64, 32], abs=3)
    ask_words = "a thing"
    prompt = page.find_element(By.ID, "prompt")
    prompt.send_keys(ask_words, Keys.ENTER)
    asked(page, "a thing and a picture")
    page.execute_script(
        "const at = document.getElementById('alpha'); at.value = 0.8;"
        "at.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    time.sleep(0.3)
    asked(page, "a thing and a picture")
    page.find_element(By.ID, "add").click()
    until(page, "return document.querySelectorAll('#queries .pick').length", 1)
    (query,) = bench.desk.bench.collection.queries()
    assert (query.texts, query.alpha, len(query.supports)) == (("a thing",), 0.8, 1)
    mask_hw = query.supports[0].mask()
    assert mask_hw is not None
    assert mask_hw.sum() == values[2] * values[3]
    page.find_element(By.CSS_SELECTOR, "input[name=tool][value=brush]").click()
    ActionChains(page).move_to_element(editor).click_and_hold().move_by_offset(40, 0).release().perform()
    page.execute_script("document.getElementById('prompt').value = ''")
    page.find_element(By.CSS_SELECTOR, "#ask button[type=submit]").click()
    asked(page, "a picture")
    page.find_element(By.ID, "add").click()
    until(page, "return document.querySelectorAll('#queries .pick').length", 2)
    painted = bench.desk.bench.collection.queries()[1].supports[0].mask()
    assert painted is not None
    assert painted[128, 128]
    assert 0 < painted.mean() < 0.1
    assert browsers.console(page) == []


def test_keys_do_all_of_it(page: WebDriver, bench: Served) -> None:
    def press(*keys: str) -> None:
        ActionChains(page).send_keys(*keys).perform()

    press("/", "a chair", Keys.ENTER)
    asked(page, "a chair")
    press(Keys.ESCAPE, "a")
    until(page, "return document.querySelectorAll('#queries .pick').length", 1)
    asked(page, "a-chair")
    press("+", "+")
    until(page, "return document.querySelector('#queries .limit').textContent", "0.51")
    press("/")
    ActionChains(page).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).send_keys(
        "a lamp", Keys.ENTER
    ).perform()
    asked(page, "a lamp")
    press(Keys.ESCAPE, "a")
    until(page, "return document.querySelectorAll('#queries .pick').length", 2)
    press("K", "K")
    until(page, LISTED, ["a-lamp", "a-chair"])
    press("J")
    until(page, LISTED, ["a-chair", "a-lamp"])
    press("k")
    asked(page, "a-chair")
    press("e")
    assert page.switch_to.active_element.get_attribute("name") == "query_id"
    press(Keys.HOME, "my-", Keys.TAB)
    until(page, "return document.querySelector('#queries .pick b').textContent", "my-a-chair")
    press(Keys.ESCAPE, Keys.DELETE)
    until(page, LISTED, ["a-lamp"])
    press("u")
    until(page, "return document.querySelectorAll('#queries .pick').length", 2)
    press(Keys.ARROW_RIGHT, Keys.ENTER)
    assert page.find_element(By.ID, "viewer").is_displayed()
    press(Keys.ARROW_RIGHT)
    assert page.find_element(By.CSS_SELECTOR, "#viewer .steps span").text == f"2 of {IMAGES}"
    press(Keys.ESCAPE, "?")
    assert "lower threshold" in page.find_element(By.ID, "help").text
    press(Keys.ESCAPE, "m")
    assert not page.find_element(By.ID, "masks").is_selected()


def test_no_text_becomes_code(page: WebDriver, bench: Served) -> None:
    ask(page, HOSTILE)
    page.find_element(By.ID, "add").click()
    until(page, "return document.querySelectorAll('#queries .pick').length", 1)
    uid = bench.desk.bench.collection.entries[0].uid
    WebDriverWait(page, 10, 0.05).until(lambda _: bench.desk.bench.view.get("active") == uid)
    bench.json("PATCH", "queries", {uid: {"query_id": HOSTILE, "kind": HOSTILE, "group": HOSTILE}})
    page.refresh()
    asked(page, HOSTILE)
    page.find_element(By.CSS_SELECTOR, ".more").click()
    assert page.find_element(By.CSS_SELECTOR, "#queries .pick b").text == HOSTILE
    assert HOSTILE.replace("/", "∕") in page.execute_script(
        "return [...document.querySelectorAll('.card img')].map((each) => each.alt)"
    )
    assert page.execute_script("return typeof hacked") == "undefined"
    assert page.find_elements(By.CSS_SELECTOR, "img[src=x]") == []
    assert browsers.console(page) == []


def test_what_is_no_picture_says_so_and_the_page_goes_on(page: WebDriver, tmp_path: Path) -> None:
    (tmp_path / "evil.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' onload='hacked=1'/>")
    page.find_element(By.ID, "file").send_keys(str(tmp_path / "evil.svg"))
    until(page, "return document.getElementById('notice').textContent.includes('no picture that can be read')", True)
    ask(page, "a dog")
    assert not page.find_element(By.ID, "notice").is_displayed()
    assert page.execute_script("return typeof hacked") == "undefined"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_it_can_be_used_by_everyone(page: WebDriver, folder: Path, scheme: str, width: int) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        collect(page, "a chair")
        page.find_element(By.CSS_SELECTOR, ".more").click()
        page.find_element(By.CSS_SELECTOR, "#verdicts summary").click()
        until(page, "return document.querySelector('[data-verdict=begin]') !== null", True)
        page.execute_script((resources.files("axe_core_python") / "axe.min.js").read_text("utf-8"))
        check = (
            "axe.run(document).then((found) => arguments[0](found.violations.map("
            "(each) => [each.id, each.nodes.map((node) => node.html)])))"
        )
        page.find_element(By.CSS_SELECTOR, "[data-verdict=begin]").click()
        for count, key in enumerate("yn", 1):
            ActionChains(page).send_keys(key).perform()
            until(
                page,
                f"return document.querySelector('#verdicts [role=status]').textContent.startsWith('{count} ')",
                True,
            )
        assert page.find_elements(By.CSS_SELECTOR, "#verdicts .proposals")
        assert page.find_element(By.CSS_SELECTOR, "#verdicts .judged").is_displayed()
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        assert page.execute_async_script(check) == []
        page.find_element(By.ID, "file").send_keys(str(folder / "scene-01.png"))
        until(page, "return document.getElementById('picture').hidden", False)
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        assert page.execute_async_script(check) == []
        page.execute_script("document.querySelector('.card').click()")
        assert page.execute_async_script(check) == []
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_another_page_reaches_nothing(browser: WebDriver, bench: Served, tmp_path: Path) -> None:
    (tmp_path / "evil.html").write_text(
        f"""<script>
        window.found = [];
        const sent = {{ method: "POST", mode: "no-cors" }};
        const added = {{ ...sent, body: '{{"text": "x"}}' }};
        for (const [path, how] of [["state", {{}}], ["undo", sent], ["queries", added]]) {{
          fetch("{bench.address}" + path, how).then((each) => found.push(each.status), () => found.push("no"));
        }}
        </script>
        <img src="{bench.address}thumbnails/0" onerror="found.push('no')" onload="found.push('yes')">
        <iframe src="{bench.address}"></iframe>"""
    )
    browser.get(f"file://{tmp_path}/evil.html")
    until(browser, "return found.length", 4)
    assert set(browser.execute_script("return found")) <= {"no", 0}
    assert bench.desk.bench.collection.entries == ()
    browsers.console(browser)
