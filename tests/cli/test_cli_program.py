"""What all verbs share: help, the version, how errors end, the name the program is started by."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import clipseg_ray as package
from clipseg_ray import command_line
from clipseg_ray import config as configuration
from clipseg_ray.cli import app
from clipseg_ray.cli.app import repeated

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]

WRONG = {
    "queries": ["nowhere.csv"],
    "try": ["nowhere.jpg"],
    "demo": ["-s", "masks.threshhold=0.4"],
    "init": ["nowhere"],
    "run": ["nowhere.yaml"],
    "submit": ["nowhere.yaml", "--address", "http://127.0.0.1:1"],
    "plan": ["nowhere.yaml", "-s", "masks.threshold"],
    "train": ["nowhere.yaml"],
    "convert": ["nowhere.pth", "there"],
    "evaluate": ["nowhere.yaml"],
    "truth": ["phrasecut", "nowhere", "there"],
    "workbench": ["nowhere"],
    "tune": ["nowhere.csv", "--truth", "nowhere", "-o", "there.csv"],
    "paper": ["nowhere.yaml", "--data", "there", "--checkpoint", "there"],
    "show": ["nowhere"],
    "query": ["nowhere", "SELECT 1"],
    "compare": ["nowhere", "there"],
    "verify": ["nowhere"],
    "rethreshold": ["nowhere", "there", "--threshold", "0.5"],
    "compact": ["nowhere", "there"],
    "refine": ["nowhere", "there", "--where", "true", "-s", "masks.refine=guided"],
    "register": ["nowhere", "--catalog", "lake", "--namespace", "photos"],
    "card": ["nowhere"],
    "gallery": ["nowhere", "-o", "page.html"],
    "export": ["nowhere", "there.json", "--format", "coco"],
    "status": ["nowhere", "--watch", "--deep"],
}
"""For each verb something a person can get wrong."""


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_says_what_a_verb_does_and_how_it_is_used(verb, clipseg_ray):
    code, output, errors = clipseg_ray(verb, "--help")
    assert (code, errors) == (0, "")
    assert f"clipseg-ray {verb} " in output.splitlines()[0]
    assert f"Example: clipseg-ray {verb}" in output
    assert COMMANDS[verb].help.splitlines()[0].split()[0] in output


def test_without_a_verb_all_are_listed(clipseg_ray):
    code, output, errors = clipseg_ray()
    assert code == 2
    assert [verb for verb in COMMANDS if f"\n  {verb} " not in output + errors] == []


@pytest.mark.parametrize("verb", COMMANDS)
def test_what_a_person_must_know_is_one_error_and_exit_code_2(verb, clipseg_ray, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, output, errors = clipseg_ray(verb, *WRONG[verb])
    assert (code, output) == (2, "")
    assert errors.startswith("error: ")
    assert all(line.startswith("  ") for line in errors.splitlines()[1:])
    assert "nowhere" in errors or verb in ("demo", "status")
    assert "Traceback" not in errors


def test_a_verb_there_is_not(clipseg_ray):
    code, _, errors = clipseg_ray("segment")
    assert code == 2
    assert "No such command 'segment'" in errors


def test_the_version_is_the_packages_own(clipseg_ray):
    assert clipseg_ray("--version") == (0, f"clipseg-ray {package.__version__}\n", "")
    assert importlib.metadata.version("clipseg-ray") == package.__version__


def test_it_runs_as_a_module():
    command = [sys.executable, "-m", "clipseg_ray", "--version"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.startswith("clipseg-ray ")


def test_a_verb_started_again_can_be_pasted():
    again = repeated("run", "my run.yaml", ["queries.where=kind = 'a'", "pool.max=2"])
    assert again == """clipseg-ray run 'my run.yaml' -s 'queries.where=kind = '"'"'a'"'"'' -s pool.max=2"""


def test_the_program_is_named_as_it_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    script = tmp_path / "clipseg-ray"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command_line.as_started() == "clipseg-ray"
    monkeypatch.setenv("PATH", "/nowhere")
    assert command_line.as_started() == str(script)
    monkeypatch.setattr(sys, "argv", [".venv/bin/clipseg-ray"])
    assert command_line.as_started() == ".venv/bin/clipseg-ray"
    monkeypatch.setattr(sys, "argv", ["/lib/clipseg_ray/__main__.py"])
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-m", "clipseg_ray", "demo"])
    assert command_line.as_started() == "python3 -m clipseg_ray"


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_an_interrupt_at_any_moment_is_one_line_and_130(verb, clipseg_ray, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(configuration, "load", interrupted)
    assert clipseg_ray(verb, "any.yaml") == (130, "", "Interrupted.\n")
