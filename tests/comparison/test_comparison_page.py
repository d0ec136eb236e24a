"""The page of a comparison in a real browser: it loads in silence and paints what both and what one alone have."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.common.by import By

from clipseg_ray.comparison.command import compare
from tests.report import browser as browsers
from tests.report import world
from tests.report.world import Answer, Picture

pytestmark = pytest.mark.skipif(browsers.ABSENT is not None, reason=str(browsers.ABSENT))

HOSTILE = "</script><img src=x onerror=hacked=1><!-- \"'{{data}}\\u003cb\u2028"
COLOURS = """
const found = {};
for (const canvas of document.querySelectorAll(".picture canvas")) {
  const bytes = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  for (let at = 0; at < bytes.length; at += 4) {
    const name = bytes[at + 3] ? `${bytes[at]} ${bytes[at + 1]} ${bytes[at + 2]}` : "none";
    found[name] = (found[name] ?? 0) + 1;
  }
}
return found;
"""


def test_it_paints_both_and_each_alone_and_no_text_is_code(tmp_path: Path) -> None:
    mask = world.ellipse(0.4, 0.5, 0.3, 0.2)
    other = np.roll(mask, 5, 1)
    urls = []
    for name, own in (("a", mask), ("b", other)):
        answers = {"dog": Answer(own, 0.8), "cat": Answer(mask, 0.9)}
        pictures = [Picture(HOSTILE, answers=answers)]
        urls.append(world.write(tmp_path / name, [world.query("dog", HOSTILE), world.query("cat")], [pictures]))
    page = compare(*urls, to=str(tmp_path / "page.html")).page
    with browsers.started() as browser:
        browser.get(f"file://{page}")
        deadline = time.monotonic() + 10
        width = "return document.querySelector('.picture canvas').width"
        while browser.execute_script(width) != world.GRID and time.monotonic() < deadline:
            time.sleep(0.05)
        assert browser.execute_script(COLOURS) == {
            "none": int((~(mask | other)).sum()),
            "240 228 66": int((mask & other).sum()),
            "213 94 0": int((mask & ~other).sum()),
            "0 114 178": int((other & ~mask).sum()),
        }
        assert browser.find_element(By.CSS_SELECTOR, ".picture h2").text.startswith(f"1. {HOSTILE[:20]}")
        rows = browser.find_elements(By.CSS_SELECTOR, "#queries tbody tr")
        assert [row.find_element(By.TAG_NAME, "td").text for row in rows] == ["dog", "cat"]
        browser.set_window_size(390, 800)
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        assert browser.execute_script("return window.hacked") is None
        assert browsers.console(browser) == []
