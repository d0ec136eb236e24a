"""The description on a package index: the README, readable from anywhere."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).parents[2]
HOME = "https://github.com/clipseg-ray/clipseg-ray/blob/main/"
RAW = "https://raw.githubusercontent.com/clipseg-ray/clipseg-ray/main/"


def test_links_and_pictures_lead_to_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}
    monkeypatch.setattr(setuptools, "setup", lambda **values: given.update(values))
    runpy.run_path(str(ROOT / "setup.py"))
    text = given["long_description"]
    pictures = re.findall(r'(?:!\[[^\]]*\]\(|src="|srcset=")([^)"]+)', text)
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)]+)\)", text)
    assert len(pictures) >= 4
    assert len(links) > 20
    for base, found in ((RAW, pictures), (HOME, links)):
        for url in found:
            assert url.startswith(base), url
            assert (ROOT / url.removeprefix(base).partition("#")[0]).is_file(), url
    assert text.replace(RAW, "").replace(HOME, "") == (ROOT / "README.md").read_text("utf-8")
    assert "readme" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"]
