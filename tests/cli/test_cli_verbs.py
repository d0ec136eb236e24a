"""Verbs of a few lines that no other test starts by the command line."""

import yaml

from clipseg_ray.dataset import Masks
from clipseg_ray.pipeline.outcome import Outcome
from clipseg_ray.refinement import job as job_of_pairs
from clipseg_ray.training import job
from tests.evaluation import releases


def cells(output: str) -> list[str]:
    """The first cell of each row that is shown."""
    return [line.split("│")[1].strip() for line in output.splitlines() if line.startswith("│")]


def test_show_has_statuses_queries_and_the_best_rows(clipseg_ray, made):
    code, output, errors = clipseg_ray("show", made, "--rows", "2")
    assert (code, errors) == (0, "")
    tables, best = output.split("the 2 best masks")
    assert cells(tables) == ["ok", "undecodable", "wheels", "sit", "circle"]
    assert len(cells(best)) == 2


def test_rethreshold_moves_the_queries_that_are_named(clipseg_ray, made, tmp_path):
    moved = tmp_path / "moved"
    code, output, _ = clipseg_ray("rethreshold", made, moved, "--threshold", "0.9", "--query", "circle")
    assert (code, output) == (0, f"{moved}: 11 masks at their new thresholds\n")
    with Masks(str(moved)) as masks:
        thresholds = masks.sql("SELECT query_id, round(threshold::DOUBLE, 3) FROM queries ORDER BY 1").fetchall()
    assert thresholds == [("circle", 0.9), ("sit", 0.5), ("wheels", 0.5)]


def test_refine_hands_on_what_is_typed_and_says_how_to_go_on(clipseg_ray, monkeypatch):
    asked = []

    def refined(request, invocation):
        asked.append((request, invocation))
        return Outcome(1, "Incomplete", None, {})

    monkeypatch.setattr(job_of_pairs, "refine", refined)
    code, output, errors = clipseg_ray(
        "refine",
        "masks",
        "finer",
        "--where",
        "score > 0.3",
        "-s",
        "masks.refine=guided",
        "--allow-source",
        "s3://photos/",
    )
    assert (code, output, errors) == (1, "", "Incomplete\n")
    ((request, invocation),) = asked
    assert (request.output, request.destination, request.where) == ("masks", "finer", "score > 0.3")
    assert (request.overrides, request.allow_source, request.give_up) == (
        ["masks.refine=guided"],
        ["s3://photos/"],
        False,
    )
    assert invocation == (
        "clipseg-ray refine masks finer --where 'score > 0.3' -s masks.refine=guided --allow-source s3://photos/"
    )


def test_truth_makes_shards_and_says_so(clipseg_ray, tmp_path):
    releases.voc(tmp_path / "VOC2012")
    arguments = ("truth", "voc", tmp_path / "VOC2012", tmp_path / "truth", "--smallest", "1")
    code, output, errors = clipseg_ray(*arguments)
    assert (code, output, errors) == (0, f"{tmp_path}/truth: 1 of 1 shard(s) written, 3 images with 3 masks\n", "")
    assert clipseg_ray(*arguments)[1] == f"Nothing to do: {tmp_path}/truth has all 1 shard(s) of 3 images\n"
    code, output, errors = clipseg_ray(*arguments, "--classes", "x.json")
    assert (code, output) == (2, "")
    assert (
        errors == "error: --classes: the format voc has no such option; it has --split, --names, --labels, --smallest\n"
    )


def test_train_says_where_the_model_is_and_how_to_go_on(clipseg_ray, tmp_path, monkeypatch):
    path = tmp_path / "train.yaml"
    values = {"data": {"url": "scenes/"}, "output": {"url": "out/"}, "model": {"extract_layers": [1]}}
    path.write_text(yaml.safe_dump(values))
    monkeypatch.setattr(job, "run", lambda config: f"{config.output.url}/model of {config.data.url[0]}")
    code, output, _ = clipseg_ray("train", path)
    assert (code, output) == (0, f"Trained: {tmp_path}/out/model of {tmp_path}/scenes\n")

    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "run", interrupted)
    code, _, errors = clipseg_ray("train", path, "-s", "seed=1")
    assert code == 130
    assert errors == f"Interrupted; run it again to go on: clipseg-ray train {path} -s seed=1\n"
