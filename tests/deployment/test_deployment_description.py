"""The description on a package index is the README, readable from anywhere."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PAGES = PROJECT["urls"]["Homepage"] + "/blob/main/"
RAW = PROJECT["urls"]["Homepage"].replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/"


def test_links_and_pictures_lead_to_the_repository() -> None:
    text = (ROOT / PROJECT["readme"]).read_text("utf-8")
    pictures = re.findall(r'(?:!\[[^\]]*\]\(|src="|srcset=")([^)"]+)', text)
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)]+)\)", text)
    assert len(pictures) >= 4
    assert len(links) > 20
    for base, found in ((RAW, pictures), (PAGES, links)):
        for url in found:
            assert url.startswith(base), url
            assert (ROOT / url.removeprefix(base).partition("#")[0]).is_file(), url
