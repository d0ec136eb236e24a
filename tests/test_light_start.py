"""What driver and actors do without: packages that only training needs, or that take long to load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.pipeline import world

ROOT = Path(__file__).parents[1]
ABSENT = "import sys; sys.modules['transformers'] = None\n"
"""From here on importing it is an error."""
JOB = """
import json
from tests.made import make
make(json.loads(sys.argv[1]))
import clipseg_ray.pipeline.driver
print([name for name in ("sympy", "torch._dynamo", "huggingface_hub.hf_api") if name in sys.modules])
"""
VERB = "from clipseg_ray.cli import main\nmain()\n"


@pytest.fixture
def settings(tmp_path: Path, checkpoint_dir: Path) -> dict:
    """A small run."""
    world.write_tars(str(tmp_path / "in"), shards=1, images=2)
    table = world.write_table(tmp_path / "queries.jsonl")
    return world.settings(str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, table)


def fresh(code: str, *arguments: str, **variables: str) -> str:
    """What a new process prints, which has to end well."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "jobs")))} | variables
    command = [sys.executable, "-c", code, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_what_driver_and_actor_do_needs_none_of_it(settings: dict) -> None:
    assert fresh(ABSENT + JOB, json.dumps(settings)) == "[]\n"
    assert world.masks(settings["output"]["url"]).num_rows == 6


def test_plan_and_queries_need_no_transformers(settings: dict, tmp_path: Path, checkpoint_dir: Path) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    assert "2 images" in fresh(ABSENT + VERB, "plan", str(tmp_path / "run.yaml"))
    assert "circle" in fresh(ABSENT + VERB, "queries", settings["queries"]["table"], "--model", str(checkpoint_dir))


def test_a_plan_needs_no_torch(settings: dict, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    without = "import sys; sys.modules['torch'] = None\n"
    assert "2 images" in fresh(without + VERB, "plan", str(tmp_path / "run.yaml"))


def test_a_try_needs_neither_ray_nor_transformers(tmp_path: Path) -> None:
    """In few seconds of CPU: without what compiles, downloads and schedules."""
    (tmp_path / "photo.jpg").write_bytes(world.jpeg(1))
    without = f"{ABSENT}sys.modules['ray'] = None\n"
    say = (
        "import atexit\n"
        "atexit.register(lambda: print([name for name in ('torch._dynamo', 'sympy') if name in sys.modules]))\n"
    )
    asked = [str(tmp_path / "photo.jpg"), "a red circle", "-s", "model.checkpoint=builtin:scenes"]
    printed = fresh(without + say + VERB, "try", *asked, "-o", str(tmp_path / "overlay.png"))
    assert f"wrote {tmp_path}/overlay.png\n[]\n" in printed
    assert (tmp_path / "overlay.png").stat().st_size > 1000


def test_a_plan_with_a_name_on_the_hub_needs_nothing_loaded_before(settings: dict, tmp_path: Path) -> None:
    """huggingface_hub loads its parts by their names alone, and not those that nobody names."""
    settings["model"] = {"checkpoint": "CIDAS/clipseg-rd64-refined"}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    assert "CIDAS/clipseg-rd64-refined" in fresh(VERB, "plan", str(tmp_path / "run.yaml"), HF_HUB_OFFLINE="1")


@pytest.mark.slow
def test_a_run_needs_no_transformers_in_any_process(settings: dict, tmp_path: Path) -> None:
    """A package of that name stands first on every process's path, and cannot be imported."""
    (tmp_path / "first" / "transformers").mkdir(parents=True)
    (tmp_path / "first" / "transformers" / "__init__.py").write_text(
        "raise ImportError('a run imports transformers')\n"
    )
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    path = os.pathsep.join((str(tmp_path / "first"), str(ROOT)))
    with pytest.raises(AssertionError, match="a run imports transformers"):
        fresh("import transformers", PYTHONPATH=path)
    fresh(VERB, "run", str(tmp_path / "run.yaml"), PYTHONPATH=path)
    assert world.masks(settings["output"]["url"]).num_rows == 6
