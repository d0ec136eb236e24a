"""Several drivers, several prompt sets, half-finished work: each (image, query) exactly once."""

from collections import Counter
from pathlib import Path

import pytest

from clipseg_ray import config
from clipseg_ray.errors import UserError
from clipseg_ray.pipeline import plan
from clipseg_ray.pipeline.settle import Outpaced, settle
from clipseg_ray.results import record, sets
from clipseg_ray.storage import Store
from tests.made import make
from tests.pipeline import world


def pairs(output: str) -> Counter[tuple[str, str]]:
    rows = world.masks(output)
    return Counter(zip(rows["image_id"].to_pylist(), rows["query_id"].to_pylist(), strict=True))


def test_two_drivers_that_planned_at_once_claim_each_query_once(
    tmp_path: Path, checkpoint_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    world.write_tars(source, shards=1, images=2)
    first = world.write_table(tmp_path / "a.jsonl", world.QUERIES[:2])
    second = world.write_table(tmp_path / "b.jsonl", world.QUERIES[1:])
    only_circle = {"where": "query_id = 'circle'"}
    begun = world.settings(source, output, checkpoint_dir, first, queries=only_circle)
    settle(plan.look(config.parse(begun)), "cpu", 1)
    plans = [
        plan.look(config.parse(world.settings(source, output, checkpoint_dir, table))) for table in (first, second)
    ]
    # The second driver reads the claims before the first one writes, and must notice when it writes its own.
    before = sets.read(Store.of(output))
    one = settle(plans[0], "cpu", 1)
    read, answers = sets.read, [before]
    monkeypatch.setattr(sets, "read", lambda store: answers.pop() if answers else read(store))
    two = settle(plans[1], "cpu", 1)
    claimed = [query_id for item in read(Store.of(output)) for query_id in item.digests]
    assert sorted(claimed) == ["circle", "sit", "wheels"]
    assert two.prompt_sets[0].name == one.prompt_sets[1].name
    assert len(two.prompt_sets) == 2


def test_two_first_runs_with_other_settings_cannot_both_win(tmp_path: Path, checkpoint_dir: Path) -> None:
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    world.write_tars(source, shards=1, images=2)
    table = world.write_table(tmp_path / "q.jsonl")
    plans = [
        plan.look(config.parse(world.settings(source, output, checkpoint_dir, table, input={"chunk_images": size})))
        for size in (2, 3)
    ]
    settle(plans[0], "cpu", 1)
    with pytest.raises(Outpaced):
        settle(plans[1], "cpu", 1)
    with pytest.raises(UserError, match=r"input\.chunk_images: the dataset has 2, this run 3"):
        plan.look(plans[1].config)
    found = record.read(Store.of(output))
    assert found is not None
    assert found.input["chunk_images"] == 2


@pytest.mark.usefixtures("ray_cluster")
def test_half_finished_sets_and_new_shards_after_several_increments(tmp_path: Path, checkpoint_dir: Path) -> None:
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    world.write_tars(source, shards=2, images=3)
    one = world.write_table(tmp_path / "1.jsonl", world.QUERIES[:1])
    two = world.write_table(tmp_path / "2.jsonl", world.QUERIES[:2])
    three = world.write_table(tmp_path / "3.jsonl", world.QUERIES)
    for table in (one, two):
        make(world.settings(source, output, checkpoint_dir, table))
    kept = world.digests(output, "masks")
    lost = [path for number, path in enumerate(sorted(kept)) if number % 3 == 0]
    for path in lost:
        Store.of(output).delete(path)
    world.write_tars(source, shards=1, images=3, first=5)
    looked = plan.look(config.parse(world.settings(source, output, checkpoint_dir, three)))
    assert len(looked.assignment.present) == 2
    assert looked.assignment.new == ("wheels",)
    outcome = world.run(world.settings(source, output, checkpoint_dir, three))
    assert outcome.code == 0, outcome.message
    found = pairs(output)
    assert set(found.values()) == {1}
    assert len(found) == 9 * 3
    assert kept.items() <= world.digests(output, "masks").items()
    # One pass over the images however many sets were wanted: every chunk of the two old shards once, and the new.
    assert outcome.totals["chunks"] == 6
