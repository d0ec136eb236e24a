"""The GPU check: its parts in order, a failing one by itself, its list of wheels, and all of it in small on a CPU."""

import json
import os
import re
import resource
import subprocess
import sys
import time
import venv
from importlib import metadata
from pathlib import Path

import psutil
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks import gpu as package
from benchmarks.gpu import command
from benchmarks.gpu.part import Part, Setting
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.runner import outcomes

ROOT = Path(__file__).parents[2]
WHEELS = Path(package.__file__).parents[1] / "gpu-wheels.txt"
IMAGE = ("torch", "transformers", "numpy", "numba", "pyarrow", "pillow", "fsspec", "typer", "rich")
CARRIED_BYTES = 64 * 2**20


def part(name, share_s=60.0, **options):
    return Part(name, f"tests.benchmarks.gpu_stand_ins:{name}", share_s, **options)


def ran(tmp_path, *parts, left_s=600.0):
    found = list(outcomes(parts, Setting("cpu", True, str(tmp_path)), time.monotonic() + left_s))
    assert [outcome.name for outcome in found] == [each.name for each in parts]
    assert not [child for child in psutil.Process().children() if "gpu.worker" in " ".join(child.cmdline())]
    return found


def test_a_part_that_raises_or_disagrees_leaves_the_others_in_the_same_process(tmp_path):
    before, fault, other, after = ran(tmp_path, part("passes"), part("raises"), part("disagrees"), part("passes"))
    assert (fault.status, fault.summary) == ("failed", "ValueError: a part's own fault")
    assert (other.status, other.values) == ("disagrees", {"difference": 1.0})
    assert before.status == after.status == "passed"
    assert before.values["process"] == after.values["process"]
    assert after.values["found"] == ["disagrees", "passes"]


def test_a_part_that_loses_the_device_dies_or_hangs_leaves_the_others_in_a_new_process(tmp_path):
    bad = [part("loses_the_device"), part("dies"), part("hangs", 6.0)]
    parts = [part("passes")]
    for each in bad:
        parts += [each, part("passes")]
    found = ran(tmp_path, *parts)
    good = found[::2]
    assert [outcome.status for outcome in found[1::2]] == ["failed"] * 3
    assert [outcome.status for outcome in good] == ["passed"] * 4
    assert len({outcome.values["process"] for outcome in good}) == 4
    assert "illegal memory access" in found[1].summary
    assert "signal 11" in found[3].summary
    assert "longer than 6 s" in found[5].summary
    # What the part had started went with it.
    assert not [
        each for each in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(each.info["cmdline"] or [])
    ]


def test_a_part_that_spoils_its_process_is_its_last(tmp_path):
    found = ran(tmp_path, part("passes", spoils=True), part("passes"))
    assert len({outcome.values["process"] for outcome in found}) == 2


def test_what_has_no_time_or_no_gpu_is_skipped(tmp_path):
    found = ran(tmp_path, part("passes", 60.0), part("passes", 1.0, needs_gpu=True), part("passes", 20.0), left_s=30.0)
    assert [outcome.status for outcome in found] == ["skipped", "skipped", "passed"]
    assert [outcome.summary for outcome in found] == ["no time left", "needs a GPU", "well"]


def test_ray_cannot_be_imported_by_a_part(tmp_path):
    (found,) = ran(tmp_path, part("imports_ray"))
    assert found.summary.startswith("ModuleNotFoundError")


def test_shares_fit_the_budget():
    assert sum(each.share_s for each in PARTS) <= command.BUDGET_S - command._CLOSING_S
    assert command.BUDGET_S == 8 * 60
    assert len({each.name for each in PARTS}) == len(PARTS)


@pytest.mark.parametrize(("entry", "agrees"), [("passes", True), ("raises", False), ("disagrees", False)])
def test_any_failure_is_a_failure_of_the_whole(entry, agrees, tmp_path, capsys):
    found = command.benchmark(device="cpu", small=True, out=str(tmp_path), parts=(part(entry), part("passes")))
    assert found["agrees"] is agrees
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1]) == json.loads((tmp_path / "gpu.json").read_text()) == json.loads(json.dumps(found))
    assert (tmp_path / "gpu.txt").read_text().splitlines() == lines[-1 - 4 : -1]


def small_form(python, out):
    """The command from the tree as it is, in this Python."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((".", "jobs"))}
    command = [str(python), "jobs/benchmark.py", "gpu", "--small", "--device", "cpu", "--out", str(out)]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads((out / "gpu.json").read_text())
    assert json.loads(ended.stdout.splitlines()[-1]) == found
    return found


def with_what_they_need(names):
    """These distributions and all that installing them brings along, as far as it is here."""
    found, left = {}, list(names)
    while left:
        name = canonicalize_name(left.pop())
        if name in found or not (here := next(iter(metadata.distributions(name=name)), None)):
            continue
        found[name] = here
        needed = map(Requirement, here.requires or ())
        left += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


def environment_of(distributions, folder):
    """A Python with these alone, linked from here; the path of its interpreter."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python3.*/site-packages")
    for distribution in distributions:
        for top in {path.parts[0] for path in distribution.files or () if path.parts[0] not in ("..", "__pycache__")}:
            if not (packages / top).exists():
                (packages / top).symlink_to(distribution.locate_file(top))
    return folder / "bin" / "python"


def cpu_seconds_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_small_form_passes_on_a_cpu_with_the_listed_packages_and_wheels_alone(tmp_path):
    wheels = [metadata.distribution(name) for name in pins(WHEELS)]
    python = environment_of([*with_what_they_need(IMAGE).values(), *wheels], tmp_path / "venv")
    for absent in ("ray", "duckdb", "s3fs", "pytest"):
        assert subprocess.run([python, "-c", f"import {absent}"], capture_output=True).returncode != 0
    before = cpu_seconds_of_children()
    found = small_form(python, tmp_path)
    assert found["agrees"]
    # By the clock it is half a minute on a free machine; beside other work only the CPU's own time says something.
    assert cpu_seconds_of_children() - before < 60
    assert [each["name"] for each in found["parts"]] == [each.name for each in PARTS]
    skipped = {each["name"] for each in found["parts"] if each["status"] == "skipped"}
    assert skipped == {each.name for each in PARTS if each.needs_gpu}
    values = {each["name"]: each["values"] for each in found["parts"]}
    assert values["exactness fp32"].keys() == {"plain", "refined"}
    assert values["host calls and bytes"]["block_bytes_per_mask"] == 96 * 96 / 8 + 8
    assert values["run lengths"]["masks_per_s"].keys() == {"1", "4", "8"}
    assert values["start-up"]["steps_s"].keys() >= {"import torch", "load the checkpoint", "first chunk"}
    assert values["start-up"]["imports_s"]["torch"] > 0


def pins(path):
    """{name: requirement} of a requirements file."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {re.split(r"==", line)[0].lower(): line for line in lines}


def test_wheels_are_those_of_the_lock():
    lock = pins(ROOT / "requirements.lock")
    assert pins(WHEELS).items() <= lock.items()
    assert not pins(WHEELS).keys() & {"ray", "duckdb", "s3fs", *IMAGE}


@pytest.mark.slow
def test_wheels_can_be_had_and_carried(tmp_path):
    get = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
    subprocess.run(
        [*get, "--python-version", "3.12", "--only-binary=:all:", "-d", str(tmp_path), "-r", str(WHEELS)], check=True
    )
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", "HEAD"], capture_output=True, check=True).stdout
    carried = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert carried + len(archive) < CARRIED_BYTES
