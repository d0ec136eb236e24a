"""The run configuration: what it accepts, what it makes of it, and how it says no."""

import inspect
from pathlib import Path

import pytest

from clipseg_ray import config
from clipseg_ray.errors import UserError
from clipseg_ray.sources.formats import SOURCES

MINIMAL = {"input": {"url": "photos/"}, "output": {"url": "masks/"}}


def test_defaults_serve_a_newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = config.parse(MINIMAL)
    assert found.input.url == [str(tmp_path / "photos")]
    assert found.output.url == str(tmp_path / "masks")
    assert found.input.chunk_images == 256
    assert found.masks.threshold == 0.5
    assert found.masks.keep_empty is True
    assert found.model.precision == "auto"
    assert found.queries.table == "builtin:affordances"
    assert found.input.share == (1, 1)


def test_a_file_with_overrides(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("input: {url: [s3://b/a.tar, s3://b/b.tar]}\noutput: {url: s3://b/out}\n")
    found = config.load(
        str(path),
        ["masks.threshold=0.4", "pool.memory=8GiB", "queries.where=kind = 'affordance'", "input.part=2/4", "pool.max="],
    )
    assert found.masks.threshold == 0.4
    assert found.pool.memory == 8 * 2**30
    assert found.queries.where == "kind = 'affordance'"
    assert found.input.share == (2, 4)
    assert found.pool.max is None
    assert found.input.url == ["s3://b/a.tar", "s3://b/b.tar"]
    assert config.parse(found.resolved()) == found
    assert found.changed() == {
        "input": {"url": ["s3://b/a.tar", "s3://b/b.tar"], "part": "2/4"},
        "output": {"url": "s3://b/out"},
        "queries": {"table": "builtin:affordances", "where": "kind = 'affordance'"},
        "masks": {"threshold": 0.4},
        "pool": {"memory": 8 * 2**30},
    }


def test_every_fault_is_reported_at_once_with_its_path() -> None:
    values = {
        "input": {"url": [], "decode": "fats", "chunk_imges": 4, "part": "3/2"},
        "mask": {"threshold": 0.5},
        "masks": {"threshold": 1.5},
        "pool": {"min": 3, "max": 2, "memory": "lots"},
    }
    with pytest.raises(UserError) as caught:
        config.parse(values, source="run.yaml")
    message = str(caught.value)
    assert message.startswith("run.yaml: 7 fault(s)")
    assert "input.chunk_imges: unknown key; did you mean input.chunk_images?" in message
    assert "mask: unknown key; did you mean masks?" in message
    assert "input.url: " in message
    assert "input.decode: it must be 'fast' or 'exact' (got 'fats'); did you mean fast?" in message
    assert "masks.threshold: it must be more than 0 and less than 1 (got 1.5)" in message
    assert "pool.memory: write bytes as a number or like 8GiB, 500MB (got 'lots')" in message
    assert "output: required, e.g. output: {url: masks/}" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": {"url": "a", "part": "5/4"}}, "input.part: write it as i/n with 1 ≤ i ≤ n, e.g. 1/4 (got '5/4')"),
        ({"input": {"url": "a", "limit": 5, "sample": 5}}, "input.limit, input.sample: give one of them, not both"),
        (
            {"masks": {"refine_radius": 12}},
            "masks.refine_radius: of no use without masks.refine: guided; set that, or leave this out",
        ),
        ({"masks": {"refine": "guide"}}, "masks.refine: it must be 'guided' (got 'guide'); did you mean guided?"),
        ({"masks": {"refine": "guided", "refine_radius": 3}}, "masks.refine_radius: it must be"),
        ({"pool": {"min": 3, "max": 2}}, "pool.min: 3 is more than pool.max (2)"),
        ({"pool": {"min": 2, "initial": 1, "max": 4}}, "pool.initial: 1 is not between pool.min and pool.max"),
        ({"input": {"url": "s3://key:secret@bucket/a"}}, "input.url: s3://… holds credentials"),
        ({"input": {"url": "https://h/a.tar?se=7&sig=secret"}}, "input.url: https://… holds credentials"),
        ({"queries": {"table": "https://h/a.csv?token=secret"}}, "queries.table: https://… holds credentials"),
        ({"threshold": 0.5}, "threshold: unknown key; did you mean masks.threshold?"),
        (
            {"input": {"url": "a", "format": "parqet"}},
            "input.format: there is no 'parqet'; did you mean parquet? Choose one of webdataset, parquet, images, "
            "manifest (got 'parqet')",
        ),
        ({"zebra": 1}, "zebra: unknown key; the sections are input, output, model, queries, masks, pool"),
    ],
)
def test_faults_across_keys(change: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        config.parse({**MINIMAL, **change})
    assert message in str(caught.value)


def test_every_format_is_accepted_and_described() -> None:
    for name in SOURCES:
        assert config.parse({**MINIMAL, "input": {"url": "a", "format": name}}).input.format == name
        assert f"``{name}``" in inspect.getsource(config.InputConfig)


def test_a_secret_in_a_url_is_not_repeated() -> None:
    with pytest.raises(UserError) as caught:
        config.parse({**MINIMAL, "output": {"url": "s3://key:hunter2@bucket/out"}})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("masks.threshold", "write it as section.key=value"),
        ("masks.treshold=0.4", "masks.treshold: unknown key; did you mean masks.threshold?"),
        ("input.url.deep=1", "input.url is a value, not a section"),
        ("masks.threshold=[", "not valid YAML"),
    ],
)
def test_bad_overrides(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        config.parse(MINIMAL, [override])
    assert message in str(caught.value)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: not found"):
        config.load(str(tmp_path / "none.yaml"))
    path = tmp_path / "broken.yaml"
    path.write_text("input: [")
    with pytest.raises(UserError, match=r"broken\.yaml: not valid YAML"):
        config.load(str(path))
    path.write_text("- a list")
    with pytest.raises(UserError, match="a configuration is a mapping of sections"):
        config.load(str(path))


OTHER_JOBS = ("evaluate-", "train-")


@pytest.mark.parametrize(
    "name", sorted(path.name for path in Path("configs").glob("*.yaml") if not path.name.startswith(OTHER_JOBS))
)
def test_shipped_configurations_are_valid(name: str) -> None:
    config.load(f"configs/{name}")
