"""What is reported to Prometheus: the dashboard's names are the code's, and a real scrape has a run's own numbers."""

import io
import json
import re
import time
import urllib.request
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from clipseg_ray.pipeline import prometheus
from clipseg_ray.pipeline.progress import Reporter
from clipseg_ray.results import status
from clipseg_ray.storage import Store
from tests.pipeline import world
from tests.tars import tar_of

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "configs" / "grafana" / "clipseg-ray.json"
EXPORTED = {*(f"ray_{name}_total" for name in prometheus.COUNTERS), *(f"ray_{name}" for name in prometheus.GAUGES)}
"""The names under which Prometheus finds them."""


def test_the_dashboard_asks_for_exactly_what_is_exported() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = {name for expression in expressions for name in re.findall(r"\bray_\w+", expression)}
    assert asked == EXPORTED
    variables = [item["definition"] for item in dashboard["templating"]["list"] if "definition" in item]
    assert {name for text in variables for name in re.findall(r"\bray_\w+", text)} <= asked

    tags = {f"ray_{name}_total": keys for name, (_, keys) in prometheus.COUNTERS.items()}
    tags |= {f"ray_{name}": keys for name, (_, keys) in prometheus.GAUGES.items()}
    for expression in expressions:
        for name, labels in re.findall(r"\b(ray_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)=", labels)) <= {*prometheus.TAGS, *tags[name]}, expression
        known = {key for name in re.findall(r"\bray_\w+", expression) for key in tags[name]}
        for by in re.findall(r"by \((\w+)\)", expression):
            assert by in known, expression
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_docs_name_every_metric() -> None:
    documented = (ROOT / "docs" / "watching.md").read_text()
    for name in sorted(EXPORTED):
        assert f"`{name}`" in documented, name


def test_what_nobody_knows_is_not_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, list[float]] = defaultdict(list)
    gauges = {
        name: SimpleNamespace(set=lambda value, tags, name=name: sent[name].append(value)) for name in prometheus.GAUGES
    }
    counters = {name: SimpleNamespace(inc=lambda value, tags: None) for name in prometheus.COUNTERS}
    monkeypatch.setattr(prometheus, "_instruments", lambda: (counters, gauges))
    reporter = Reporter("run", replace(world.work(chunks=3, unread=1), chunks_done=1), io.StringIO())
    reporter.actors, reporter.queue, reporter.actors_pending = None, None, 2
    prometheus.Prometheus("output", "run").emit(reporter)
    assert sent == {"clipseg_chunks_done": [1], "clipseg_chunks_planned": [4], "clipseg_actors": [2]}


def scraped(node: dict) -> dict[str, dict[frozenset, float]]:
    """Prometheus' endpoint of a node: samples by name, then by their labels."""
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    found: dict[str, dict[frozenset, float]] = {}
    for line in urllib.request.urlopen(url, timeout=30).read().decode().splitlines():
        match = re.fullmatch(r"(ray_clipseg_\w+)\{(.*)\} (\S+)", line)
        if match:
            labels = frozenset(re.findall(r'(\w+)="([^"]*)"', match[2]))
            found.setdefault(match[1], {})[labels] = float(match[3])
    return found


@pytest.mark.usefixtures("ray_cluster")
def test_a_run_is_scraped_with_its_own_numbers(tmp_path: Path, checkpoint_dir: Path) -> None:
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    world.write_tars(source, shards=1, images=3)
    Store.of(source).put("t.tar", tar_of({"good.jpg": world.jpeg(1), "bad.jpg": b"no picture"}))
    table = world.write_table(tmp_path / "queries.jsonl")
    outcome = world.run(world.settings(source, output, checkpoint_dir, table))
    assert outcome.code == 0, outcome.message

    def of_this_run(name: str, **labels: str) -> float:
        wanted = {("output", output), ("run", outcome.run_id), *labels.items()}
        return sum(value for found, value in samples.get(name, {}).items() if wanted <= found)

    deadline = time.monotonic() + 120  # Ray reports every ten seconds
    while True:
        samples = scraped(ray.nodes()[0])
        if of_this_run("ray_clipseg_images_total") >= 5 or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    reported = status.read(output).runs[0].values
    assert of_this_run("ray_clipseg_images_total", status="ok") == reported["images_by_status"]["ok"] == 4
    assert of_this_run("ray_clipseg_images_total", status="undecodable") == 1
    assert of_this_run("ray_clipseg_masks_total") == reported["masks"] == 12
    assert of_this_run("ray_clipseg_masks_total", kind="found") == reported["nonempty_masks"]
    assert of_this_run("ray_clipseg_bytes_total") == reported["bytes"]
    assert of_this_run("ray_clipseg_chunks_total") == reported["chunks"] == 3
    assert of_this_run("ray_clipseg_chunks_done") == of_this_run("ray_clipseg_chunks_planned") == 3
    for step in ("read", "decode", "model", "rle", "write"):
        seconds = of_this_run("ray_clipseg_step_seconds_total", step=step)
        assert seconds == pytest.approx(reported["seconds_by_step"][step], abs=0.01), step
        assert seconds > 0, step
    # Nothing failed, so that counter has no sample yet; every other name is there.
    assert set(samples) | {"ray_clipseg_failures_total"} >= EXPORTED
