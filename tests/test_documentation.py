"""Links between the pages hold, no decision is left out of the index, and what CONTRIBUTING names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
DECISIONS = ROOT / "docs" / "decisions"


def anchors(page: Path) -> set[str]:
    """The names by which GitHub knows a page's headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}, which is no heading there"


def test_every_decision_is_in_the_index_and_fits_a_screen() -> None:
    decisions = {path.name for path in DECISIONS.glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", (DECISIONS / "README.md").read_text())) == decisions
    for name in decisions:
        text = (DECISIONS / name).read_text()
        assert len(text.splitlines()) <= 40, f"{name} is more than a screen"
        assert text.startswith("# ")
        assert "**Question.**" in text
        assert "**Choice.**" in text
        assert "**What would change it.**" in text
        assert re.search(r"\*\*(Measured|By arithmetic)", text), f"{name} says nothing that was measured"


def test_contributing_names_what_is_there() -> None:
    text = (ROOT / "docs" / "CONTRIBUTING.md").read_text()
    files = set(re.findall(r"`([\w./-]+(?:/|\.py|\.toml|\.lock|\.yaml))`", text)) - {"images/"}
    assert len(files) > 40
    places = (ROOT, ROOT / "clipseg_ray")
    assert sorted(name for name in files if not any((place / name).exists() for place in places)) == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"^make ([a-z-]+)", text, re.M)) <= targets
