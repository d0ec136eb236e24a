"""What README and docs show of the demo is what the demo gives, within 1 %: their commands are run on what it left."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest

from clipseg_ray.cli import main
from clipseg_ray.demo import tour

pytestmark = pytest.mark.readme
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NUMBER = re.compile(r"(?<![\w./-])[+-]?\d[\d,]*(?:\.\d+)?(?![\w/-])")
ELSEWHERE = ("clipseg-ray demo", "clipseg-ray workbench")
"""What the README begins with and what never ends: make test-readme runs the one, tests/workbench/ the other."""
FRAME = re.compile(r"[\u2500-\u257f]+")


@dataclass(frozen=True)
class Shown:
    """A command or a query as a page has it, and what the page says is printed; ``printed`` is empty where it says
    nothing."""

    page: str
    asked: str
    printed: str

    def __str__(self) -> str:
        return f"{self.page}: {self.asked.strip().splitlines()[0][:60]}"


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """Language and text of each fenced block, and the text of the next where it follows at once and has no language."""
    found = list(re.finditer(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S))
    for place, block in enumerate(found):
        after = found[place + 1] if place + 1 < len(found) else None
        follows = after is not None and after[1] == "" and after.start() == block.end() + 1
        yield block[1], block[2], after[2] if after and follows else ""


def commands() -> Iterator[Shown]:
    """The commands that need nothing but this repository and the demo's dataset: all of the README, and of the other
    pages those whose output is shown."""
    for page in PAGES:
        for language, text, printed in blocks(page):
            if language == "" and text.startswith("$ "):
                text, _, printed = text[2:].partition("\n")
            elif language != "sh":
                continue
            asked = [line.removeprefix(".venv/bin/") for line in text.splitlines()]
            asked = [line for line in asked if line.startswith("clipseg-ray ") and not line.startswith(ELSEWHERE)]
            for line in asked:
                said = printed if len(asked) == 1 else ""
                if ("demo-output/" in line or "docs/queries/" in line) and (said or page.name == "README.md"):
                    yield Shown(page.name, line, said)


def queries() -> Iterator[Shown]:
    """DuckDB's own SQL over the demo's files, where the page shows the answer."""
    for page in PAGES:
        for language, text, printed in blocks(page):
            if language == "sql" and "demo-output/" in text and printed:
                yield Shown(page.name, text, printed)


def difference(shown: str, printed: str) -> str | None:
    """The first line that a page shows and nobody printed, in order and with numbers within 1 %; None where there is
    none. A line that begins with … stands for any number of lines, …/ for any folder."""
    rest = iter(plain(line) for line in printed.splitlines())
    for line in shown.splitlines():
        wanted = plain(line)
        if wanted and not wanted.startswith("…") and not any(alike(wanted, found) for found in rest):
            return line
    return None


def plain(line: str) -> str:
    """A line without frames, and without the folders of the files it names."""
    return " ".join(re.sub(r"(?<!\S)…?/(?:\S*/)?", "", FRAME.sub(" ", line)).split())


def alike(wanted: str, found: str) -> bool:
    """The same words, and numbers within 1 %; a line that ends with … is compared as far as that."""
    if wanted.endswith("…"):
        wanted, found = wanted[:-1].strip(), found[: len(wanted) - 1].strip()
    if NUMBER.sub("#", wanted) != NUMBER.sub("#", found):
        return False
    numbers = ([float(each.replace(",", "")) for each in NUMBER.findall(text)] for text in (wanted, found))
    return all(abs(a - b) <= 0.01 * abs(b) for a, b in zip(*numbers, strict=True))


@pytest.fixture(scope="module")
def demo() -> Path:
    folder = ROOT / "demo-output"
    assert (folder / "masks" / "_dataset.json").exists(), "make demo first: make test-readme does"
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to write in, with the pictures that the pages name."""
    shutil.copytree(ROOT / "docs" / "queries", tmp_path / "docs" / "queries")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_comparing_sees_what_it_must() -> None:
    shown = "┃ mug ┃ 0.717 ┃\nwrote …/out.json: 512 images, 494 annotations"
    assert difference(shown, "│ mug  │ 0.716 │\n\nwrote /a/b/out.json: 512 images, 494 annotations\n") is None
    assert difference(shown, "│ mug  │ 0.716 │\nwrote /a/b/out.json: 512 images, 405 annotations\n") is not None
    assert difference(shown, "│ mug  │ 0.730 │\nwrote /a/b/out.json: 512 images, 494 annotations\n") is not None
    assert difference(shown, "wrote /a/b/out.json: 512 images, 494 annotations\n│ mug  │ 0.716 │\n") is not None
    assert difference("a/030000108 │ 1", "a/030000109 │ 1") is not None, "an id is no number"


def test_the_pages_show_what_is_run_here() -> None:
    first = {(each.page, shlex.split(each.asked)[1]) for each in commands()}
    assert first >= {("README.md", verb) for verb in ("try", "init", "show", "gallery", "export")}
    shells = "".join(text for language, text, _ in blocks(PAGES[0]) if language == "sh")
    named = re.findall(r"^(?:\.venv/bin/)?clipseg-ray .*$", shells, re.M)
    named = [line for line in named if not line.startswith(ELSEWHERE)]
    assert len(named) == sum(each.page == "README.md" for each in commands()), "the README has commands nobody runs"
    assert sum(bool(each.printed) for each in [*commands(), *queries()]) >= 6


@pytest.mark.parametrize("shown", list(commands()), ids=str)
def test_a_command_prints_what_its_page_shows(
    shown: Shown, demo: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = shlex.split(shown.asked, comments=True)
    monkeypatch.setattr(sys, "argv", [each.replace("demo-output/", f"{demo}/") for each in arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code in (None, 0), printed.err
    said = printed.out + printed.err
    assert (missing := difference(shown.printed, said)) is None, f"{shown.page} shows {missing!r}, printed was\n{said}"


@pytest.mark.parametrize("shown", list(queries()), ids=str)
def test_a_query_gives_what_its_page_shows(shown: Shown, demo: Path) -> None:
    with duckdb.connect() as connection:
        answer = str(connection.sql(shown.asked.replace("demo-output/", f"{demo}/")))
    assert difference(shown.printed, answer) is None, f"{shown.page} shows another answer than\n{answer}"


def test_what_the_demo_prints_of_its_scores(demo: Path) -> None:
    rows = json.loads((demo / "evaluation" / "evaluation.json").read_text())["rows"]
    said = tour.beside([SimpleNamespace(name=row["row"], scores=SimpleNamespace(**row)) for row in rows])
    shown = next(text for _, text, _ in blocks(ROOT / "docs" / "competing.md") if text.startswith("Alone"))
    assert difference(shown, said) is None, f"docs/competing.md shows other scores than\n{said}"
