"""Headless Chromium, driven by selenium through Debian's chromedriver: nothing is downloaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
ABSENT = None if CHROMIUM and DRIVER else "Chromium is not installed (Debian: chromium, chromium-driver)"


@contextmanager
def started() -> Iterator[WebDriver]:
    """A browser with a window of 1400 × 900 that keeps its console."""
    options = Options()
    options.binary_location = CHROMIUM or ""
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,900"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium refuses root otherwise
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield browser
    finally:
        browser.quit()


def console(browser: WebDriver) -> list[str]:
    """What the page has said since the last look, errors of the content security policy among it."""
    return [entry["message"] for entry in browser.get_log("browser")]
