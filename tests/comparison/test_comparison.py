"""Two sets of masks compared, held against pycocotools over masks that are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pycocotools.mask
import pytest

from clipseg_ray.comparison import numbers, pairing
from clipseg_ray.comparison.command import compare
from clipseg_ray.comparison.compared import Comparison
from clipseg_ray.comparison.numbers import Agreement
from clipseg_ray.comparison.side import Side
from clipseg_ray.errors import UserError
from clipseg_ray.queries.phrase_set import PhraseSet
from clipseg_ray.queries.query import Query
from clipseg_ray.results import layout, own_files, record
from clipseg_ray.storage import Store
from tests.report import world
from tests.report.world import Answer, Picture

NAMES = ["chair", "cup", "dog"]
QUERIES = [world.query(name) for name in NAMES]
Shards = list[list[Picture]]


def moved(shards: Shards, seed: int, grid: int | None = None, width: int | None = None) -> Shards:
    """The same images with other answers to some queries: as they were, shifted, gone or new; on another grid."""
    rng = np.random.default_rng(seed)
    made = []
    for pictures in shards:
        own = []
        for picture in pictures:
            answers = {}
            for name, answer in picture.answers.items():
                kind = rng.integers(0, 4)
                mask = np.roll(answer.mask, 0 if kind == 0 else 3, 1)
                if kind == 3:
                    mask = world.empty(len(mask)) if mask.any() else world.ellipse(0.5, 0.5, 0.1, 0.3, len(mask))
                score = float(np.clip(answer.score + rng.normal(0, 0.05), 0.01, 0.99))
                answers[name] = Answer(mask if grid is None else resized(mask, grid, width or grid), score)
            own.append(replace(picture, answers=answers))
        made.append(own)
    return made


def resized(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Every pixel that of the nearest centre."""
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip((height, width), mask.shape, strict=True)
    )
    return mask[rows][:, columns]


def written(folder: Path, shards: Shards, queries: Sequence[Query] = QUERIES, chunk_images: int = 8) -> str:
    return world.write(folder, queries, shards, chunk_images)


def made_without_empty(url: str) -> None:
    """Say in the record that rows of empty masks were left out."""
    store = Store.of(url)
    made = record.require(store)
    store.put(layout.DATASET, replace(made, masks={**made.masks, "keep_empty": False}).to_json())


def iou(a: np.ndarray, b: np.ndarray) -> float | None:
    """pycocotools' over the larger grid; None where both are empty."""
    grid = [max(sides) for sides in zip(a.shape, b.shape, strict=True)]
    rles = [pycocotools.mask.encode(np.asfortranarray(resized(mask, *grid).astype(np.uint8))) for mask in (a, b)]
    found = float(pycocotools.mask.iou(rles[:1], rles[1:], [0])[0, 0])
    return found if a.any() or b.any() else None


def differing(a: np.ndarray, b: np.ndarray) -> float:
    """The share of pixels inside one alone, on the larger grid; on the mask's own where the other is empty."""
    if not a.any() or not b.any():
        return float(max(a.mean(), b.mean()))
    grid = [max(sides) for sides in zip(a.shape, b.shape, strict=True)]
    return float((resized(a, *grid) ^ resized(b, *grid)).mean())


def answers_of(a: Shards, b: Shards, name: str) -> list[tuple[str, Answer, Answer]]:
    both = zip((each for part in a for each in part), (each for part in b for each in part), strict=True)
    return [(one.image_id, one.answers[name], other.answers[name]) for one, other in both]


def agreement(found: Comparison, name: str) -> Agreement:
    return dict(zip([pair.name for pair in found.pairs], found.agreements, strict=True))[name]


@pytest.mark.parametrize("grids", [(48, None, None), (48, 96, 96), (48, 31, 113)])
def test_numbers_are_those_of_brute_force(tmp_path: Path, grids: tuple) -> None:
    a = world.scattered(2, 30, NAMES)
    b = moved(a, 1, *grids[1:])
    found = compare(written(tmp_path / "a", a), written(tmp_path / "b", b, chunk_images=5))
    assert found.lacks == ()
    assert [pair.name for pair in found.pairs] == NAMES
    for name in NAMES:
        each, own = agreement(found, name), answers_of(a, b, name)
        all_ious = [iou(one.mask, other.mask) for _, one, other in own]
        ious = np.array([value for value in all_ious if value is not None])
        drifts = np.array([np.float32(other.score) - np.float64(np.float32(one.score)) for _, one, other in own])
        assert (each.masks, each.either, each.same) == (60, len(ious), (ious == 1).sum())
        assert each.found == sum(other.mask.any() and not one.mask.any() for _, one, other in own) > 0
        assert each.lost == sum(one.mask.any() and not other.mask.any() for _, one, other in own) > 0
        assert each.iou == pytest.approx(ious.mean(), rel=1e-12)
        assert each.drift == pytest.approx(drifts.mean(), rel=1e-9)
        assert each.drift_most == pytest.approx(np.abs(drifts).max(), rel=1e-12)
        for share in numbers.SHARES:
            assert each.quantiles[share] == pytest.approx(np.quantile(ious, share, method="lower"), abs=0.00101)
            drift = np.quantile(drifts, share, method="lower")
            assert each.drift_quantiles[share] == pytest.approx(drift, abs=0.00101)
        in_bins = np.bincount(np.minimum(ious * 1000 // 50, 19).astype(int), minlength=numbers.BINS)
        assert list(each.bins) == in_bins.tolist()
    if grids[1] is None:
        assert 0 < agreement(found, "dog").same < agreement(found, "dog").either


def test_a_dataset_is_like_itself(tmp_path: Path) -> None:
    url = written(tmp_path, world.scattered(1, 12, NAMES))
    found = compare(url, url)
    assert (found.changes, found.lacks, found.faults(1.0)) == ((), (), [])
    assert all(each.iou == 1 and each.same == each.either and each.drift_most == 0 for each in found.agreements)


def test_the_page_shows_what_differs_most_first(tmp_path: Path) -> None:
    a = world.scattered(2, 60, NAMES, seed=3)
    b = moved(a, 4, 60)
    page = tmp_path / "page"
    urls = written(tmp_path / "a", a), written(tmp_path / "b", b)
    found = compare(*urls, to=str(page))
    assert found.page == f"{page}/index.html"
    text = (page / "index.html").read_text()
    content = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    unlike: dict[str, dict[str, float]] = {}
    for name in NAMES:
        for image_id, one, other in answers_of(a, b, name):
            value = iou(one.mask, other.mask)
            if value is not None and value < 1:
                unlike.setdefault(image_id, {})[name] = differing(one.mask, other.mask)
    order = sorted(unlike, key=lambda image_id: -sum(unlike[image_id].values()))
    assert len(order) > 100
    shown = content["images"]
    assert len(shown) == 100
    assert [each["pixels"] for each in shown] == pytest.approx(
        [sum(unlike[image_id].values()) for image_id in order[:100]], rel=6e-6
    )
    assert all(each["src"].startswith("data:image/webp") for each in shown)
    pictures = [{each.image_id: each for part in shards for each in part} for shards in (a, b)]
    for each in shown[:20]:
        named = [content["pairs"][mask["pair"]]["name"] for mask in each["masks"]]
        assert {*named} == {*unlike[each["id"]]}
        shares = [mask["differing"] for mask in each["masks"]]
        assert shares == sorted(shares, reverse=True) == pytest.approx([unlike[each["id"]][name] for name in named])
        for name, mask in zip(named, each["masks"], strict=True):
            size = [mask["height"], mask["width"]]
            assert size == [60, 60]
            for own, counts in zip(pictures, (mask["a_counts"], mask["b_counts"]), strict=True):
                expected = resized(own[each["id"]].answers[name].mask, *size)
                drawn = pycocotools.mask.decode({"size": size, "counts": counts}) if counts else np.zeros(size)
                assert (drawn.astype(bool) == expected).all()


def test_where_empty_masks_were_left_out_a_row_that_is_not_there_is_one(tmp_path: Path) -> None:
    a = world.scattered(1, 20, NAMES, seed=5)
    b = moved(a, 6)
    with_all = compare(written(tmp_path / "a", a), written(tmp_path / "b", b))
    sparse = []
    for name, shards in (("c", a), ("d", b)):
        some = [
            [
                replace(each, answers={name: answer for name, answer in each.answers.items() if answer.mask.any()})
                for each in part
            ]
            for part in shards
        ]
        sparse.append(written(tmp_path / name, some))
        made_without_empty(sparse[-1])
    found = compare(*sparse)
    assert found.lacks == ()
    for before, now in zip(with_all.agreements, found.agreements, strict=True):
        assert (now.masks, now.either, now.iou) == (before.masks, before.either, pytest.approx(before.iou))
        assert (now.same, now.found, now.lost, now.bins) == (before.same, before.found, before.lost, before.bins)
    assert any("masks.keep_empty: True → False" in line for line in compare(f"{tmp_path}/a/out", sparse[1]).changes)


@pytest.mark.parametrize("keeps_empty", [True, False])
def test_a_chunk_that_was_not_computed_is_no_chunk_of_empty_masks(tmp_path: Path, keeps_empty: bool) -> None:
    a = world.scattered(1, 20, NAMES)
    urls = written(tmp_path / "a", a), written(tmp_path / "b", moved(a, 2))
    store = Store.of(urls[1])
    (folder,) = (f"{layout.MASKS}/{name}" for name in store.folders(layout.MASKS))
    store.delete(own_files.names(store, folder)[1])  # images 8 to 15
    if not keeps_empty:
        made_without_empty(urls[1])
    found = compare(*urls)
    assert found.lacks == ("B has no answer for chair (8 images), cup (8 images), dog (8 images)",)
    assert {(each.masks, each.lacks_a, each.lacks_b) for each in found.agreements} == {(12, 0, 8)}
    turned = compare(*reversed(urls))
    assert {(each.masks, each.lacks_a, each.lacks_b) for each in turned.agreements} == {(12, 8, 0)}
    assert found.faults(0.0) == ["not everything could be compared: see above"]


def test_images_and_queries_that_one_lacks_are_named(tmp_path: Path) -> None:
    a = world.scattered(2, 8, ["chair", "dog"])
    b = [[replace(each) for each in a[0]]]
    b[0][2] = Picture(a[0][2].image_id, status="undecodable", error="cut")
    b[0][3] = replace(b[0][3], image_id=b[0][4].image_id)
    for each in b[0]:
        each.answers = {"dog": each.answers["dog"], "hat": each.answers["dog"]} if each.answers else {}
    b[0][2].answers = {}
    urls = (
        written(tmp_path / "a", a, [world.query("chair"), world.query("dog")]),
        written(tmp_path / "b", b, [world.query("dog", threshold=0.3), world.query("hat")]),
    )
    found = compare(*urls)
    assert found.lacks == (
        "only A has 9 images: s-000.tar/0003, "
        "s-001.tar/0000, s-001.tar/0001, s-001.tar/0002, s-001.tar/0003 and 4 more",
        "only A could read 1 image: s-000.tar/0002",
        "B has several times 1 image: s-000.tar/0004",
        "only A asks 1 query: chair",
        "only B asks 1 query: hat",
    )
    assert found.agreements[0].masks == 5
    assert "threshold of 1 of 1 queries: 0.5 → 0.3" in found.changes
    others = [[replace(each, image_id=f"other/{each.image_id}") for each in a[0]]]
    with pytest.raises(UserError, match="no image in common, by its image_id; only A has 16 images: s-000"):
        compare(urls[0], written(tmp_path / "c", others, [world.query("dog")]))


def test_prompt_sets_of_one_dataset_by_wording_and_by_name(tmp_path: Path) -> None:
    shards = world.scattered(1, 10, ["chair", "dog", "seat", "hound", "puppy"])
    url = written(tmp_path, shards, [world.query("chair", "a chair"), world.query("dog", "a dog")])
    more = [world.query("seat", "a chair", threshold=0.4), world.query("hound", "a dog"), world.query("puppy", "a dog")]
    world.add_queries(url, more, shards, 8)
    first, second = (f"{url}/masks/set={name}" for name in _sets(url))
    found = compare(first, f"{second}/")
    assert [pair.name for pair in found.pairs] == ["chair → seat"]
    assert found.lacks == (
        "only A asks 1 query: dog",
        "only B asks 2 queries: hound, puppy",
        "one wording have dog in A and hound, puppy in B: say which is which with --pair",
    )
    given = compare(first, second, given=["dog=puppy"])
    assert [pair.name for pair in given.pairs] == ["chair → seat", "dog → puppy"]
    own = [(each.answers["dog"].mask, each.answers["puppy"].mask) for each in shards[0]]
    ious = [value for masks in own if (value := iou(*masks)) is not None]
    assert agreement(given, "dog → puppy").iou == pytest.approx(np.mean(ious))
    whole = compare(url, second)
    assert {pair.name for pair in whole.pairs} == {"seat", "hound", "puppy"}
    for wrong, said in (
        (["dgo=puppy"], "--pair dgo: no such query in .*did you mean dog"),
        (["dog=puppie"], "--pair puppie: no such query in .*did you mean puppy"),
        (["dog"], "--pair dog: give both ids"),
        (["dog=puppy", "chair=puppy"], "--pair puppy: is named more than once"),
    ):
        with pytest.raises(UserError, match=said):
            compare(first, second, given=wrong)
    with pytest.raises(UserError, match="no such prompt set; did you mean masks/set=ps-"):
        Side.of(f"{url}/masks/set=ps-0123456789abcdef")


def test_queries_that_have_nothing_in_common_are_refused(tmp_path: Path) -> None:
    shards = world.scattered(1, 3, ["chair", "dog"])
    a, b = (Side.of(written(tmp_path / name, shards, [world.query(name)])) for name in ("chair", "dog"))
    with pytest.raises(UserError, match="have no query in common: chair; dog; say which is which: --pair"):
        pairing.pairing(a, b)
    assert [pair.name for pair in pairing.pairing(a, b, ["chair=dog"]).pairs] == ["chair → dog"]


def test_phrases_that_came_with_the_images_are_one_query(tmp_path: Path) -> None:
    mask = world.ellipse(0.5, 0.5, 0.3, 0.2)
    urls = []
    for name, shift in (("a", 0), ("b", 4)):
        answer = Answer(np.roll(mask, shift, 0), 0.8)
        pictures = [
            Picture(f"p{i}", phrases={"left": answer, f"the {i}th": answer}, answers={"dog": answer}) for i in range(6)
        ]
        if name == "b":
            del pictures[2].phrases["left"]
        phrases = PhraseSet("caption", ("{}",), 0.5)
        urls.append(world.write(tmp_path / name, [world.query("dog")], [pictures], phrases=phrases))
    found = compare(*urls, to=str(tmp_path / "page.html"))
    each = agreement(found, "from:caption")
    assert (each.masks, each.lacks_b, each.iou) == (11, 1, pytest.approx(iou(mask, np.roll(mask, 4, 0))))
    assert found.lacks == ("B has no answer for from:caption (1 image)",)
    assert "the 5th" in (tmp_path / "page.html").read_text()


def test_two_remote_datasets_at_once(made: str, upload: Callable[[str], str]) -> None:
    urls = [upload(f"memory://{name}/masks") for name in ("first", "second")]
    found = compare(*urls)
    assert [each.iou for each in found.agreements if each.either] == [1.0] * sum(e.either > 0 for e in found.agreements)
    assert sum(each.masks for each in found.agreements) == 33
    store = Store.of(urls[1])
    (folder,) = (f"{layout.MASKS}/{name}" for name in store.folders(layout.MASKS))
    store.delete(own_files.names(store, folder)[0])
    assert any(line.startswith("B has no answer") for line in compare(*urls).lacks)
    assert compare(made, urls[0]).lacks == ()
    for name in ("first", "second"):
        fsspec.filesystem("memory").rm(f"/{name}", recursive=True)


def _sets(url: str) -> list[str]:
    return [json.loads(path.read_text())["name"] for path in sorted(Path(url, layout.SETS).iterdir())]
