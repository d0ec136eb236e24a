from pathlib import Path

import pytest
import yaml

from clipseg_ray.demo import tour
from clipseg_ray.demo.shards import write_shards
from clipseg_ray.pipeline.outcome import Outcome


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_demo_leaves_its_configuration_to_go_on_with(folder, clipseg_ray):
    config = tour.configuration(["output.url=there"])
    assert config.input.url == [f"{folder}/demo-output/scenes/*.tar"]
    assert config.output.url == f"{folder}/there"
    written = yaml.safe_load((folder / "demo-output" / "demo.yaml").read_text())
    assert (written["input"]["url"], written["output"]["url"]) == ("scenes/*.tar", "masks")
    write_shards(folder / "demo-output" / "scenes", shards=1, images=2, seed=tour.SEED)
    code, output, _ = clipseg_ray("plan", "demo-output/demo.yaml")
    assert code == 0
    assert f"{folder}/demo-output/masks" in output


def test_the_verb_ends_as_its_run_does(folder, clipseg_ray, monkeypatch):
    given = {}

    def run(config, *, invocation):
        given.update(config=config, invocation=invocation)
        return Outcome(3, "no more", None, {})

    (folder / "demo-output" / "scenes").mkdir(parents=True)
    monkeypatch.setattr(tour.driver, "run", run)
    code, output, errors = clipseg_ray("demo", "-s", "masks.threshold=0.4")
    assert (code, output, errors) == (3, "no more\n", "")
    assert given["config"].masks.threshold == 0.4
    assert given["invocation"] == "clipseg-ray run demo-output/demo.yaml -s masks.threshold=0.4"


def test_a_wrong_setting_is_said_before_anything_is_drawn(folder, clipseg_ray):
    code, _, errors = clipseg_ray("demo", "-s", "masks.treshold=0.4")
    assert code == 2
    assert "did you mean masks.threshold?" in errors
    assert not (folder / "demo-output" / "scenes").exists()
