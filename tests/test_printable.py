"""What is printed for people steers no terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clipseg_ray import cli
from clipseg_ray.errors import UserError
from clipseg_ray.printable import printable
from clipseg_ray.report import card
from clipseg_ray.storage import Store
from tests.report import world

NASTY = "=a\x1b]0;title\x07\x1b[31m\x00\u202egpj.exe\u2066\x9b2J\r"


def test_steering_characters_become_their_codes() -> None:
    assert printable("a\x1b[2J\x00\u202eb\ud800") == "a\\x1b[2J\\x00\\u202eb\\ud800"
    plain = "Zoë\tcafé\n猫 👩‍🌾 ×…"
    assert printable(plain) == plain
    assert "\x1b" not in str(UserError(NASTY))


def test_what_verbs_print_of_a_dataset(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    answers = {"dog": world.Answer(world.ellipse(0.5, 0.5, 0.3, 0.3), 0.9)}
    pictures = [world.Picture(NASTY, answers=answers), world.Picture(f"b{NASTY}", status="missing", error=NASTY)]
    output = world.write(tmp_path, [world.query("dog")], [pictures])
    capfd.readouterr()
    for verb in (["show"], ["query", "--top", "dog"], ["query", "SELECT * FROM images"], ["verify"], ["status"]):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["clipseg-ray", verb[0], output, *verb[1:]])
            cli.app([verb[0], output, *verb[1:]], standalone_mode=False)
        printed = "".join(capfd.readouterr())
        assert not set(printed) & set("\x1b\x00\x07\u202e\u2066\x9b\r"), verb
    card.write(Store(output))
    assert not set((tmp_path / "out/README.md").read_text()) & set("\x1b\x00\x07\u202e\u2066\x9b\r")


def test_csv_for_spreadsheets(tmp_path: Path) -> None:
    answers = {"dog": world.Answer(world.ellipse(0.5, 0.5, 0.3, 0.3), 0.9)}
    output = world.write(tmp_path, [world.query("dog")], [[world.Picture("=cmd", answers=answers)]])
    statement = "SELECT image_id, -1 AS n, '-x' AS \"a b\", 'x=' AS c FROM images"
    command = [sys.executable, "-m", "clipseg_ray", "query", output, statement, "--format", "csv"]
    plain = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert plain.splitlines() == ["image_id,n,a b,c", "=cmd,-1,-x,x="]
    safe = subprocess.run([*command, "--spreadsheet"], capture_output=True, text=True, check=True).stdout
    assert safe.splitlines() == ["image_id,n,a b,c", "'=cmd,-1,'-x,x="]
