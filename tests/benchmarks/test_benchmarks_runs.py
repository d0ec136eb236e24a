"""Each benchmark runs on a tiny model, agrees with its baselines, and ends with one JSON line that names no machine."""

import json
import platform
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import command, competing, decode, engine, geometry, inputs, pipeline, query, reading, rle, scale
from clipseg_ray.errors import UserError

EVERYWHERE = {"benchmark", "agrees", "hardware", "versions", "commit", "settings", "races"}


def last_line(capsys):
    text = capsys.readouterr().out
    line = text.strip().splitlines()[-1]
    assert str(Path.home()) not in line
    assert platform.node() not in line.replace("localhost", "")
    found = json.loads(line)
    assert found.keys() >= EVERYWHERE
    assert found["hardware"].keys() >= {"cpu", "amx", "cores", "torch_threads"}
    assert {"python", "torch", "transformers"} <= found["versions"].keys()
    return found, text


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_engine(precision, checkpoint_dir, capsys, tmp_path):
    log = tmp_path / "log.jsonl"
    returned = engine.benchmark(
        precision=precision,
        prompts=(1, 3),
        images=2,
        rounds=2,
        memory_prompts=(20,) if precision == "fp32" else (),
        checkpoint=str(checkpoint_dir),
        json_file=str(log),
    )
    found, text = last_line(capsys)
    assert json.loads(log.read_text()) == found
    assert found == json.loads(json.dumps(returned))
    assert found["agrees"]
    assert found["agreement"]["differing"] == found["agreement"]["ties"]
    assert found["agreement"]["score_difference"] < 1e-4
    assert [row["prompts"] for row in found["by_prompts"]] == [1, 3]
    row = found["by_prompts"][1]
    assert row["d2h_bytes_per_mask"] == 96 * 96 / 8 + 8
    assert row["images_per_s"] * found["races"][1]["entries"][0]["median_s"] == pytest.approx(1)
    assert row["seconds_per_image_by_step"].keys() == {"decode", "segment", "rle"}
    assert found["encoder"]["share_of_peak"] > 0
    assert len(found["races"]) == 3
    assert all(len(entry["seconds_per_unit"]) >= 2 for race in found["races"] for entry in race["entries"])
    assert ("precision_error" in found) == (precision == "bf16")
    if precision == "bf16":
        assert 0.5 < found["precision_error"]["iou_pooled"] < 1
    else:
        assert [entry["rows"] for entry in found["memory"]["entries"]] == [80]
        assert 0 < found["memory"]["entries"][0]["ready_bytes"] <= found["memory"]["entries"][0]["working_bytes"]
    assert "min–max" in text


def test_decode(capsys):
    decode.benchmark(images=2, rounds=1)
    found, _ = last_line(capsys)
    assert found["agrees"]
    assert found["levels"]["ours, exact"]["max"] == 0
    assert found["levels"]["ours, fast"]["max"] <= 1
    assert found["ratio_pillow"] > 0


def test_rle(capsys):
    rle.benchmark(masks=10, rounds=1)
    found, _ = last_line(capsys)
    assert found["agrees"]
    assert found["agreement"]["counts_differ"] == found["agreement"]["resized_counts_differ"] == 0
    assert 0 < found["settings"]["empty"] < 10
    assert {"ratio_columns", "ratio_bits", "ratio_resized"} <= found.keys()


def test_read(capsys, tmp_path):
    reading.benchmark(url=str(tmp_path), images=8, rounds=1, readers=(1,))
    found, text = last_line(capsys)
    assert found["cpu_ms_per_image"].keys() == {"single objects, 1 reader(s)", "tars, 1 reader(s)"}
    assert found["decode_cpu_ms_per_image"] > 0
    assert "cores at 1,000 images/s" in text
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    (tmp_path / "benchmark-read").mkdir(exist_ok=True)
    (tmp_path / "benchmark-read" / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(UserError, match="something is there already"):
        reading.benchmark(url=str(tmp_path))


@pytest.mark.slow
def test_pipeline(checkpoint_dir, capsys):
    pipeline.benchmark(checkpoint=str(checkpoint_dir), images=4, prompts=2, rounds=1, workers=1)
    found, _ = last_line(capsys)
    assert found["agrees"]
    assert found["masks"] == 2 * found["settings"]["images"]
    assert found["rounds"].keys() == {"loop", "job"}
    entry = found["rounds"]["job"][0]
    assert 0 < entry["startup_s"] < entry["startup_s"] + entry["steady_s"] <= entry["wall_s"]


def test_scale_simulated(capsys):
    scale.benchmark(shards=60, shard_chunks=50, run_chunks=0)
    found, text = last_line(capsys)
    assert found["agrees"]
    steps = {step["name"]: step for step in found["simulated"]}
    half, whole = (steps[f"resume: {what} of the chunks there"] for what in ("half", "all"))
    # Listings alone: no record is read, and pages are asked for by the thousand.
    assert half["requests"]["get"] == whole["requests"]["get"] <= 3
    assert whole["requests"]["list"] <= 2 * (1 + 16) + 6
    assert "read tasks made and pickled" in text


@pytest.mark.slow
def test_scale_without_pixels(capsys):
    scale.benchmark(shards=2, shard_chunks=1, run_chunks=200)
    found, _ = last_line(capsys)
    assert found["run"]["written"] == found["run"]["chunks"] == 200
    assert found["run"]["chunks_per_cpu_s"] > 0


@pytest.mark.parametrize("verb", ["engine", "decode", "rle", "pipeline", "read", "scale", "gpu"])
def test_help_has_an_example_whose_options_exist(verb):
    runner = CliRunner()
    text = runner.invoke(command.app, [verb, "--help"]).output
    example = " ".join(text.partition("Example: python jobs/benchmark.py ")[2].split())
    assert example.startswith(verb)
    assert runner.invoke(command.app, [*example.split(), "--help"]).exit_code == 0


def test_disagreement_is_exit_code_1(monkeypatch):
    monkeypatch.setattr(rle, "benchmark", lambda **_: {"agrees": False})
    assert CliRunner().invoke(command.app, ["rle"]).exit_code == 1


def test_faults_are_one_line(monkeypatch, capsys, tmp_path):
    for arguments, wanted in (
        (["engine", "--prompts", "1,x"], "--prompts 1,x"),
        (["decode", "--images-dir", str(tmp_path)], "no .jpg"),
    ):
        monkeypatch.setattr("sys.argv", ["benchmark.py", *arguments])
        with pytest.raises(SystemExit) as exit:
            command.main()
        assert exit.value.code == 2
        assert wanted in capsys.readouterr().err


def test_prompts_differ_and_pictures_come_round(tmp_path):
    assert len(set(inputs.texts(1000))) == 1000
    assert inputs.texts(1000)[:8] == inputs.texts(8)
    with pytest.raises(UserError, match="at most"):
        inputs.texts(100_000)
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "b.JPEG").write_bytes(b"b")
    assert inputs.jpegs(3, str(tmp_path)) == [b"a", b"b", b"a"]


def test_query(capsys, tmp_path):
    query.benchmark(rows=6000, rounds=1, folder=str(tmp_path))
    found, text = last_line(capsys)
    assert found["agrees"]
    assert len(found["races"]) == 6
    assert 100 < sum(found["bytes_per_row"].values()) < 200
    read = found["bytes_read"]
    assert read["--co-occur"]["counts"] > 0
    assert read["score and coverage"].keys() & {"score", "coverage", "area", "counts"} == {"score", "coverage", "area"}
    assert "counts" not in read["--coverage"]
    assert "Slowest" in text


def test_geometry(capsys):
    geometry.benchmark(masks=4, rounds=1)
    found, text = last_line(capsys)
    assert found["agrees"]
    assert len(found["races"]) == 7
    assert min(found["per_second"].values()) > 0
    assert "a second on one core" in text


def test_competing(capsys):
    competing.benchmark(scenes=10, tune=10, resamples=50)
    found, text = last_line(capsys)
    assert found["agrees"] is True
    assert found["measures"].keys() == {"alone", "one group"}
    intervals = [interval for own in found["measures"].values() for interval in own.values()]
    assert all(0 <= low <= high <= 1 and 0 <= point <= 1 for point, low, high in intervals)
    assert "10 scenes, " in text
