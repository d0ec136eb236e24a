"""The demo's scenes: the seed decides them, and what they say of themselves is true."""

import csv
from pathlib import Path

import numpy as np
import pytest

from clipseg_ray.demo.scenes import SMALLEST_VISIBLE, scene
from clipseg_ray.demo.vocabulary import HELD_OUT_PAIRS, NAMES, VOCABULARY
from clipseg_ray.demo.world.colours import COLOURS

TABLES = Path(__file__).parents[2] / "configs" / "queries"
BY_ID = {entry.query_id: entry for entry in VOCABULARY}


@pytest.fixture(scope="module")
def scenes():
    """Many, small, so that all there is occurs."""
    return [scene(seed, side=96) for seed in range(260)]


def _rows():
    for file in sorted(TABLES.glob("*.csv")):
        with file.open(newline="") as lines:
            yield from csv.DictReader(lines)


def test_the_seed_decides_everything():
    one, again, other = scene(3), scene(3), scene(4)
    assert one.pixels_hwc.shape == (352, 352, 3)
    assert one.pixels_hwc.dtype == np.uint8
    assert np.array_equal(one.pixels_hwc, again.pixels_hwc)
    assert [truth.query_id for truth in one.truth] == [truth.query_id for truth in again.truth]
    assert all(np.array_equal(a.mask_hw, b.mask_hw) for a, b in zip(one.truth, again.truth, strict=True))
    assert not np.array_equal(one.pixels_hwc, other.pixels_hwc)


def test_truth_is_the_union_of_what_the_entry_names(scenes):
    for shown in scenes[:60]:
        listed = {truth.query_id: truth for truth in shown.truth}
        assert len(listed) == len(shown.truth)
        for entry in VOCABULARY:
            expected = np.zeros((96, 96), bool)
            for one in shown.instances:
                if entry.kind == "part":
                    for part, mask in one.parts.items():
                        if part in entry.parts:
                            expected |= mask
                    continue
                meant = {
                    "object": one.name in entry.names,
                    "coloured object": one.name in entry.names and one.colour == entry.colour,
                    "affordance": one.name in entry.names,
                    "attribute": one.name in entry.names or one.colour == entry.colour or one.pattern == entry.pattern,
                }
                if meant[entry.kind]:
                    expected |= one.mask_hw
            if entry.query_id in listed:
                truth = listed[entry.query_id]
                assert (truth.kind, truth.texts) == (entry.kind, entry.texts)
                assert np.array_equal(truth.mask_hw, expected)
                assert expected.sum() >= SMALLEST_VISIBLE
            else:
                assert expected.sum() < SMALLEST_VISIBLE


def test_instances_do_not_overlap_and_their_parts_lie_inside(scenes):
    for shown in scenes:
        assert 1 <= len(shown.instances) <= 5
        assert sum(one.mask_hw.astype(int) for one in shown.instances).max() == 1
        for one in shown.instances:
            assert one.mask_hw.sum() >= SMALLEST_VISIBLE
            x, y, width, height = one.bbox
            assert one.mask_hw[y : y + height, x : x + width].sum() == one.mask_hw.sum()
            for mask in one.parts.values():
                assert mask.any()
                assert not (mask & ~one.mask_hw).any()


def test_masks_are_where_the_object_is_seen():
    """A red object's mask holds nearly all the vivid red of the image."""
    found = 0
    for seed in range(120):
        shown = scene(seed, side=176)
        masks = {truth.query_id: truth.mask_hw for truth in shown.truth}
        reds = [one for one in shown.instances if one.colour == "red" and one.pattern == "plain"]
        if not reds or any(one.colour in ("orange", "brown", "pink") for one in shown.instances):
            continue
        pixels = shown.pixels_hwc.astype(int)
        vivid = (pixels[..., 0] > 120) & (pixels[..., 0] > 2.2 * pixels[..., 1:].max(-1))
        if vivid.sum() > 300:
            found += 1
            assert (vivid & masks["red"]).sum() > 0.9 * vivid.sum()
    assert found >= 5


def test_every_query_occurs(scenes):
    seen = {truth.query_id for shown in scenes for truth in shown.truth}
    assert {entry.query_id for entry in VOCABULARY if entry.kind != "coloured object"} <= seen
    assert len(seen & {entry.query_id for entry in VOCABULARY if entry.kind == "coloured object"}) > 240
    assert len({shown.ground for shown in scenes}) >= 8


def test_held_out_pairs_are_an_eighth_spread_over_all_and_never_slip_in(scenes):
    assert 0.1 < len(HELD_OUT_PAIRS) / (len(NAMES) * len(COLOURS)) < 0.14
    assert {name for _, name in HELD_OUT_PAIRS} == set(NAMES)
    assert {colour for colour, _ in HELD_OUT_PAIRS} == set(COLOURS)
    assert max(sum(pair[1] == name for pair in HELD_OUT_PAIRS) for name in NAMES) <= 2
    for shown in scenes:
        assert not {(one.colour, one.name) for one in shown.instances} & HELD_OUT_PAIRS
    for seed in range(80):
        shown = scene(seed, side=96, held_out_pairs=True)
        assert {(one.colour, one.name) for one in shown.instances} & HELD_OUT_PAIRS


def test_the_vocabulary_is_closed_and_speaks_as_the_shipped_tables_do():
    assert len(BY_ID) == len(VOCABULARY)
    texts = [text for entry in VOCABULARY for text in entry.texts]
    assert len(set(texts)) == len(texts)
    kinds = {kind: sum(entry.kind == kind for entry in VOCABULARY) for kind in {entry.kind for entry in VOCABULARY}}
    assert len(NAMES) >= 27
    assert len(COLOURS) >= 10
    assert kinds["affordance"] >= 10
    assert kinds["attribute"] >= 10
    assert kinds["part"] >= 8
    shipped = {row["query_id"]: row["text"] for row in _rows()}
    for entry in VOCABULARY:
        if entry.query_id in shipped:
            assert shipped[entry.query_id] in entry.texts, entry
    own = {entry.query_id for entry in VOCABULARY if entry.kind in ("affordance", "attribute")} - set(shipped)
    assert not own
    texts_of_paper = {row["text"] for row in _rows() if row.get("source") == "paper"}
    assert texts_of_paper <= set(texts)
