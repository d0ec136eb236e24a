"""What ``plan`` says of a finished dataset's checkpoint and thresholds, and of the model inside the package."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from clipseg_ray import config
from clipseg_ray.dataset import Masks
from clipseg_ray.model.drawn_scenes import KNOWS
from clipseg_ray.pipeline import driver
from tests.made import make
from tests.pipeline import world


@pytest.fixture
def settings(made: str, checkpoint_dir: Path) -> dict:
    """The configuration that the dataset ``made`` was made with."""
    folder = Path(made).parent
    table = str(folder / "queries.jsonl")
    return world.settings(f"{folder}/in/*.tar", made, checkpoint_dir, table, masks={"heat": 24})


@pytest.fixture
def run_yaml(tmp_path: Path, settings: dict) -> Path:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path / "run.yaml"


def test_a_finished_dataset_has_nothing_left_and_counts_nothing_so_far(clipseg_ray, run_yaml):
    code, output, errors = clipseg_ray("plan", run_yaml)
    assert (code, errors) == (0, "")
    assert "to do     nothing\n" in output
    assert "12 images\n" in output
    assert "so far" not in output


def test_a_checkpoint_that_there_is_not_is_no_nothing_to_do(clipseg_ray, run_yaml):
    code, output, errors = clipseg_ray("plan", run_yaml, "-s", "model.checkpoint=builtin:scene")
    assert (code, output) == (2, "")
    assert "did you mean builtin:scenes?" in errors


def test_other_weights_that_are_at_hand_are_refused(clipseg_ray, run_yaml, checkpoint_dir, tmp_path):
    code, output, errors = clipseg_ray("plan", run_yaml, "-s", "model.checkpoint=builtin:scenes")
    assert (code, output) == (2, "")
    assert "model.checkpoint: builtin:scenes is not the model that " in errors
    assert "model.weights_sha256: the dataset has" in errors
    shutil.copytree(checkpoint_dir, tmp_path / "moved")
    code, output, errors = clipseg_ray("plan", run_yaml, "-s", f"model.checkpoint={tmp_path}/moved")
    assert (code, errors) == (0, "")
    assert "to do     nothing\n" in output
    assert "warning" not in output


def test_weights_that_are_elsewhere_are_said_to_be_compared_by_the_run(clipseg_ray, run_yaml, checkpoint_dir):
    code, output, _ = clipseg_ray("plan", run_yaml, "-s", "model.checkpoint=somebody/clipseg")
    assert code == 0
    assert (
        f"warning   model.checkpoint: the dataset was made with {checkpoint_dir}; a run compares the weights" in output
    )


def test_a_file_beside_the_configuration_is_said_to_be_one(clipseg_ray, run_yaml, settings, tmp_path):
    (tmp_path / "rd64-uni.pth").write_bytes(b"\x80\x02film_mul.weight")
    settings["model"]["checkpoint"] = "rd64-uni.pth"
    run_yaml.write_text(yaml.safe_dump(settings))
    code, _, errors = clipseg_ray("plan", run_yaml)
    assert code == 2
    assert f"model.checkpoint: {tmp_path}/rd64-uni.pth: is a training file of CLIPSeg's authors" in errors


def command_of(errors: str) -> list[str]:
    """The command that a refusal ends with."""
    return shlex.split(errors.splitlines()[-1].partition("To move them without the model: ")[2])


def thresholds(output: str) -> dict[str, float]:
    with Masks(output) as masks:
        return dict(masks.sql("SELECT query_id, round(threshold::DOUBLE, 3) FROM queries").fetchall())


def test_the_refusal_of_a_changed_threshold_ends_with_the_command_that_works(
    clipseg_ray, output, settings, run_yaml, tmp_path
):
    settings["output"]["url"] = output
    run_yaml.write_text(yaml.safe_dump(settings))
    code, _, errors = clipseg_ray("plan", run_yaml, "-s", "masks.threshold=0.4")
    assert code == 2
    assert "circle: threshold: the dataset has 0.5, this table 0.4" in errors
    program, *command = command_of(errors)
    assert (program, command) == (
        "clipseg-ray",
        ["rethreshold", output, f"{output}-at-0.4", "--threshold", "0.4"],
    )
    assert clipseg_ray(*command)[0] == 0
    assert thresholds(f"{output}-at-0.4") == {"circle": 0.4, "sit": 0.4, "wheels": 0.4}


def test_one_of_several_queries_is_named(clipseg_ray, output, settings, run_yaml, tmp_path):
    table = world.write_table(tmp_path / "moved.jsonl", threshold=[0.5, 0.5, 0.123456789])
    settings["output"]["url"], settings["queries"]["table"] = output, table
    run_yaml.write_text(yaml.safe_dump(settings))
    _, *command = command_of(clipseg_ray("plan", run_yaml)[2])
    assert command[3:] == ["--threshold", "0.123456789", "--query", "wheels"]
    assert clipseg_ray(*command)[0] == 0
    assert thresholds(command[2]) == {"circle": 0.5, "sit": 0.5, "wheels": 0.123}


def test_several_thresholds_are_one_command_too(clipseg_ray, output, settings, run_yaml, tmp_path):
    table = world.write_table(tmp_path / "moved.jsonl", threshold=[0.4, 0.5, 0.62])
    settings["output"]["url"], settings["queries"]["table"] = output, table
    run_yaml.write_text(yaml.safe_dump(settings))
    command = command_of(clipseg_ray("plan", run_yaml)[2])
    assert command[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *command[1:]], check=True)
    assert thresholds(f"{output}-at-0.4-0.62") == {"circle": 0.4, "sit": 0.5, "wheels": 0.62}


def test_without_maps_the_refusal_ends_with_another_output(clipseg_ray, settings, run_yaml, tmp_path):
    del settings["masks"]
    settings["output"]["url"] = str(tmp_path / "bare")
    make(settings)
    run_yaml.write_text(yaml.safe_dump(settings))
    _, _, errors = clipseg_ray("plan", run_yaml, "-s", "masks.threshold=0.4")
    last = errors.splitlines()[-1]
    assert "rethreshold" not in last
    assert f"-s output.url={tmp_path}/bare-at-0.4 (" in last
    code, output, _ = clipseg_ray(
        "plan", run_yaml, "-s", "masks.threshold=0.4", "-s", f"output.url={tmp_path}/bare-at-0.4"
    )
    assert code == 0
    assert "(new)" in output


def test_a_query_that_means_something_else_is_still_told_to_get_a_new_id(clipseg_ray, settings, run_yaml, tmp_path):
    settings["queries"]["table"] = world.write_table(tmp_path / "t.jsonl", [("circle", "a blue circle")])
    run_yaml.write_text(yaml.safe_dump(settings))
    _, _, errors = clipseg_ray("plan", run_yaml, "-s", "masks.threshold=0.4")
    assert errors.splitlines()[-1] == "  Give the changed queries new ids, or choose another output.url."


def test_plan_and_run_say_what_the_built_in_model_is(clipseg_ray, settings, run_yaml, tmp_path, capsys):
    settings["output"]["url"], settings["model"]["checkpoint"] = str(tmp_path / "built-in"), "builtin:scenes"
    run_yaml.write_text(yaml.safe_dump(settings))
    _, output, _ = clipseg_ray("plan", run_yaml)
    assert output.splitlines().count(f"warning   {KNOWS}") == 1
    make(settings)
    assert driver.run(config.load(str(run_yaml))).code == 0
    assert capsys.readouterr().out.splitlines().count(f"warning: {KNOWS}") == 1
