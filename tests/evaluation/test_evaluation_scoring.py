"""A model against truth shards: transformers' own answers counted by hand, and the ways of asking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.config import EvaluateConfig, SupportsConfig
from clipseg_ray.evaluation.metrics import AskedQuery, Metrics
from clipseg_ray.evaluation.protocols import Asking, Task, jobs_of
from clipseg_ray.evaluation.questions import Questions, prepare
from clipseg_ray.evaluation.scoring import Scorer
from clipseg_ray.evaluation.support_draws import candidates
from clipseg_ray.evaluation.truth import Thing, TruthSet, survey
from clipseg_ray.inference.finer import Finer
from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.model.embedding import embed_texts, normalise
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.pixels.decode import decode
from clipseg_ray.pixels.viewed_images import Gathering
from clipseg_ray.queries.modes import parse_mode
from clipseg_ray.queries.prompt_set import embed
from clipseg_ray.queries.query import Query
from clipseg_ray.queries.supports import make_support
from tests import reference
from tests.evaluation.world import box, entry, noise, rle, write

SIZE = (70, 110)  # height, width: neither square nor the model's
DOG, CAT = box(10, 20, 40, 60, SIZE), box(0, 0, 30, 30, SIZE)


@pytest.fixture(scope="module")
def checkpoint(checkpoint_dir: Path) -> Checkpoint:
    return checkpoints.load(str(checkpoint_dir))


@pytest.fixture(scope="module")
def scorer(checkpoint: Checkpoint) -> Scorer:
    engine = Engine(make_model(checkpoint, batch=2, decode_chunk=3))
    return Scorer(engine, checkpoint.preprocessing)


def truth_of(folder: Path, *scenes: list[dict[str, Any]], first: int = 0) -> TruthSet:
    """One shard; each scene is its list of truths."""
    samples = [
        (f"{i:03d}", noise(first + i, *SIZE), {"truth": entries, "height": SIZE[0], "width": SIZE[1]})
        for i, entries in enumerate(scenes)
    ]
    return TruthSet.of([write(str(folder), samples)])


def ask(truth: TruthSet, checkpoint: Checkpoint, asking: Asking, pictures: Any = None, **changes: Any) -> Questions:
    things = asking.things(survey(truth).vocabulary)
    job = Task("test", asking, tuple(things), changes.pop("everywhere", True))
    return prepare(job, checkpoint, pictures or {}, **changes)


def scored(scorer: Scorer, truth: TruthSet, questions: Questions) -> Metrics:
    metrics = Metrics()
    for shard in truth.shards:
        metrics.merge(scorer.score(truth, shard, [questions])[0])
    return metrics


def pictures_of(metrics: Metrics, kind: str, query_id: str) -> tuple[int, int]:
    """Images without the thing and with it that were asked."""
    without, having = metrics.counts[AskedQuery(kind, query_id)].images_cb.sum(axis=1).tolist()
    return without, having


TEXT = Asking(protocol="text", texts="first", templates=("{}",))


def by_transformers(checkpoint: Checkpoint, picture: bytes, text: str) -> tuple[np.ndarray, float]:
    """transformers' probabilities at the image's size, float32 [h, w], and the greatest on the model's grid."""
    pixels = torch.from_numpy(decode(picture, checkpoint.preprocessing).pixels_hwc)[None]
    model = reference.model_of(checkpoint)
    tokens = reference.tokenizer_of(checkpoint)([text], return_tensors="pt")
    with torch.inference_mode():
        logits = model(pixel_values=normalise(pixels, checkpoint.preprocessing), **tokens).logits
        grid = logits.reshape(1, 1, *logits.shape[-2:]).sigmoid()
        resized = torch.nn.functional.interpolate(grid, SIZE, mode="bilinear", align_corners=False)
    return resized[0, 0].numpy(), float(grid.max())


def test_counts_are_those_of_transformers_answers(tmp_path: Path, checkpoint: Checkpoint, scorer: Scorer) -> None:
    ignored = box(0, 60, 70, 50, SIZE)
    samples = [
        ("a", noise(1, *SIZE), {"truth": [entry("dog", DOG), entry("cat", CAT, "pet")]}),
        ("b", noise(2, *SIZE), {"truth": [entry("dog", CAT)], "ignore": rle(ignored)}),
        ("c", noise(3, *SIZE), {"truth": []}),
    ]
    url = write(str(tmp_path), [(key, jpeg, {**json, "height": 70, "width": 110}) for key, jpeg, json in samples])
    truth = TruthSet.of([url])
    metrics = scored(scorer, truth, ask(truth, checkpoint, TEXT))
    by_hand = Metrics()
    labels = {"dog": [DOG, CAT, None], "cat": [CAT, None, None]}
    for text, kind in (("dog", "object"), ("cat", "pet")):
        for index, (_, jpeg, _) in enumerate(samples):
            probability_hw, score = by_transformers(checkpoint, jpeg, text)
            ignore_hw = ignored if index == 1 else None
            by_hand.update(text, probability_hw, labels[text][index], ignore_hw, kind=kind, score=score)
    assert metrics.counts.keys() == by_hand.counts.keys()
    for asked, counts in by_hand.counts.items():
        found = metrics.counts[asked]
        assert np.array_equal(found.pixels_cb.sum(axis=1), counts.pixels_cb.sum(axis=1))
        moved = np.abs(np.cumsum(found.pixels_cb - counts.pixels_cb, axis=1)).max()
        assert moved <= 5, "more than rounding: pixels stand in other bins"
        assert np.array_equal(found.images_cb, counts.images_cb)


def test_how_pictures_are_spread_over_shards_does_not_matter(
    tmp_path: Path, checkpoint: Checkpoint, scorer: Scorer
) -> None:
    scenes = [[entry("dog", DOG)], [entry("cat", CAT)], [entry("dog", CAT), entry("cat", DOG)], [], [entry("dog", DOG)]]
    one = truth_of(tmp_path / "one", *scenes)
    questions = ask(one, checkpoint, TEXT)
    whole = scored(scorer, one, questions)
    parts = Metrics()
    for number, (first, chosen) in enumerate([(3, scenes[3:]), (0, scenes[:3])]):
        part = truth_of(tmp_path / f"part-{number}", *chosen, first=first)
        parts.merge(scored(scorer, part, questions))
    assert parts.to_table().equals(whole.to_table())


def test_only_pictures_that_have_the_thing_are_asked_where_that_is_wanted(
    tmp_path: Path, checkpoint: Checkpoint, scorer: Scorer
) -> None:
    truth = truth_of(tmp_path, [entry("dog", DOG)], [entry("cat", CAT)], [])
    everywhere = scored(scorer, truth, ask(truth, checkpoint, TEXT)).scores()
    present = scored(scorer, truth, ask(truth, checkpoint, TEXT, everywhere=False)).scores()
    assert (everywhere.images_present, everywhere.images_absent) == (2, 4)
    assert (present.images_present, present.images_absent) == (2, 0)


def test_a_query_with_two_masks_is_counted_twice(tmp_path: Path, checkpoint: Checkpoint, scorer: Scorer) -> None:
    both_n = int(DOG.sum() + CAT.sum())
    both = truth_of(tmp_path / "both", [entry("dog", DOG), entry("dog", CAT)])
    each = [truth_of(tmp_path / str(place), [entry("dog", mask_hw)]) for place, mask_hw in enumerate((DOG, CAT))]
    expected = Metrics()
    for truth in each:
        expected.merge(scored(scorer, truth, ask(truth, checkpoint, TEXT)))
    found = scored(scorer, both, ask(both, checkpoint, TEXT))
    assert pictures_of(found, "object", "dog") == (0, 2)
    counts, other = (metrics.counts[AskedQuery("object", "dog")] for metrics in (found, expected))
    assert counts.pixels_cb.sum(1).tolist() == other.pixels_cb.sum(1).tolist() == [0, 2 * DOG.size - both_n, both_n]
    # Rows that are decided together differ by an ulp from those alone, so a pixel may stand in the next bin.
    np.testing.assert_allclose(counts.pixels_cb.cumsum(1), other.pixels_cb.cumsum(1), atol=3)


def test_only_what_is_known_is_asked(tmp_path: Path, checkpoint: Checkpoint, scorer: Scorer) -> None:
    cat = {"query_id": "cat", "kind": "object", "texts": ["cat"]}
    sidecars = [
        {"truth": [entry("dog", DOG)], "absent": [cat]},
        {"truth": [], "absent": [cat]},
        {"truth": [entry("cat", CAT)], "absent": []},
    ]
    samples = [
        (f"{place:03d}", noise(place, *SIZE), {**sidecar, "height": SIZE[0], "width": SIZE[1]})
        for place, sidecar in enumerate(sidecars)
    ]
    truth = TruthSet.of([write(str(tmp_path), samples)])
    metrics = scored(scorer, truth, ask(truth, checkpoint, TEXT))
    assert (pictures_of(metrics, "object", "dog"), pictures_of(metrics, "object", "cat")) == ((0, 1), (2, 1))


def test_wordings(tmp_path: Path, checkpoint: Checkpoint, scorer: Scorer) -> None:
    truth = truth_of(tmp_path, [entry("seat", DOG, "affordance", ["something to sit on", "sit on"]), entry("cat", CAT)])
    things = survey(truth).vocabulary
    assert TEXT.wordings(things["seat"]) == ("something to sit on",)
    paper = Asking(protocol="text", texts="paper", templates=("{}",))
    assert [thing.query_id for thing in paper.things(things)] == ["seat"]
    every = ask(truth, checkpoint, Asking(protocol="text", texts="all", templates=("{}",)))
    assert pictures_of(scored(scorer, truth, every), "affordance", "seat") == (0, 2)
    both = embed(
        [
            Query(query_id="", kind="", texts=(text,), templates=("{}",), threshold=0.5)
            for text in ("something to sit on", "sit on")
        ],
        checkpoint,
    )
    (place,) = [i for i, thing in enumerate(every.things) if thing.query_id == "seat"]
    assert np.allclose(every.conditionals(place, ""), both, atol=1e-6)
    assert np.allclose(ask(truth, checkpoint, paper).conditionals(0, ""), both[1:], atol=1e-6)


def test_queries_of_a_table_are_right_where_their_concept_is(
    tmp_path: Path, checkpoint: Checkpoint, scorer: Scorer
) -> None:
    truth = truth_of(tmp_path, [entry("chair", CAT), entry("couch", DOG, texts=["sofa"])], [entry("lamp", CAT)])
    questions = ask(truth, checkpoint, Asking(protocol="table", table="builtin:affordances"))
    assert [thing.query_id for thing in questions.things] == ["paper-sit-on"]
    metrics = scored(scorer, truth, questions)
    assert pictures_of(metrics, "affordance", "paper-sit-on") == (1, 1)
    counts = metrics.counts[AskedQuery("affordance", "paper-sit-on")]
    assert counts.pixels_cb[2].sum() == np.count_nonzero(CAT | DOG)


@pytest.mark.parametrize("side", [7, 96, 200])
def test_truth_may_be_squashed_as_the_authors_squash_labels(tmp_path: Path, side: int) -> None:
    """By torch's nearest neighbour, which is what they use."""
    ignored = box(0, 60, 70, 50, SIZE)
    sidecar = {"truth": [entry("dog", DOG), entry("cat", CAT)], "ignore": rle(ignored), "height": 70, "width": 110}
    truth = TruthSet.of([write(str(tmp_path), [("a", noise(1, *SIZE), sidecar)])])
    (scene,) = next(truth.scenes(truth.shards[0]))
    squashed = scene.squashed(side)
    assert (squashed.height, squashed.width, squashed.sha256) == (side, side, scene.sha256)
    found = [*squashed.mask_planes(), squashed.ignored()]
    for plane_wh, mask_hw in zip(found, (DOG, CAT, ignored), strict=True):
        nearest = torch.nn.functional.interpolate(torch.from_numpy(mask_hw)[None, None].float(), (side, side))
        assert plane_wh is not None
        assert np.array_equal(plane_wh.T, nearest[0, 0].numpy() > 0)


def test_masks_are_compared_at_the_size_that_labels_are_given(
    tmp_path: Path, checkpoint: Checkpoint, scorer: Scorer
) -> None:
    truth = truth_of(tmp_path, [entry("dog", DOG)])
    questions = ask(truth, checkpoint, TEXT)
    metrics = scored(Scorer(scorer.engine, scorer.preprocessing, 96), truth, questions)
    counts = metrics.counts[AskedQuery("object", "dog")]
    (scene,) = next(truth.scenes(truth.shards[0]))
    assert counts.pixels_cb.sum() == 96 * 96
    assert counts.pixels_cb[2].sum() == scene.squashed(96).mask_planes()[0].sum()


def test_what_no_question_concerns_is_not_encoded(
    tmp_path: Path, checkpoint: Checkpoint, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = truth_of(tmp_path, [entry("dog", DOG)], [entry("cat", CAT)], [], [entry("dog", CAT)])
    encoded: list[int] = []
    encode = scorer.engine.encode
    monkeypatch.setattr(scorer.engine, "encode", lambda pixels: encoded.append(len(pixels)) or encode(pixels))
    for everywhere, number in ((False, 2), (True, 4)):
        dogs = tuple(thing for thing in TEXT.things(survey(truth).vocabulary) if thing.query_id == "dog")
        scored(scorer, truth, prepare(Task("test", TEXT, dogs, everywhere), checkpoint, {}))
        assert encoded.pop() == number


class TestPictures:
    """Picture prompts: drawn, composed, blended."""

    SETTINGS = SupportsConfig(truth="supports", pool=3, smallest=0.05)

    def test_a_picture_is_never_a_support_for_itself(self, tmp_path: Path, checkpoint: Checkpoint) -> None:
        truth = truth_of(tmp_path, *[[entry("dog", DOG)]] * 3)
        (found,) = candidates(["dog"], truth, self.SETTINGS, checkpoint).values()
        scenes = next(truth.scenes(truth.shards[0]))
        assert set(found.pictures) == {scene.sha256 for scene in scenes}
        for scene in scenes:
            own = found.vectors_nc[found.pictures.index(scene.sha256)]
            for seed in range(20):
                drawn = found.draw(scene.sha256, "dog", 1, seed)
                assert drawn is not None
                assert not np.array_equal(drawn, own)
            others = [i for i, picture in enumerate(found.pictures) if picture != scene.sha256]
            both = found.draw(scene.sha256, "dog", 2, 0)
            assert np.allclose(both, found.vectors_nc[others].mean(axis=0), atol=1e-6)
            assert found.draw(scene.sha256, "dog", 3, 0) is None

    def test_draws_follow_the_seed_and_differ_between_pictures(self, tmp_path: Path, checkpoint: Checkpoint) -> None:
        truth = truth_of(tmp_path, *[[entry("dog", DOG)]] * 8)
        settings = self.SETTINGS.model_copy(update={"pool": 8})
        found = candidates(["dog"], truth, settings, checkpoint)["dog"]

        def drawn(seed: int) -> list[int]:
            rows = [found.draw(f"picture {i}", "dog", 1, seed) for i in range(30)]
            return [int(np.flatnonzero((found.vectors_nc == row).all(axis=1))[0]) for row in rows]

        assert drawn(0) == drawn(0)
        assert drawn(0) != drawn(1)
        assert len(set(drawn(0))) > 4

    def test_the_pool_does_not_depend_on_order_and_leaves_small_things_out(
        self, tmp_path: Path, checkpoint: Checkpoint
    ) -> None:
        small = [entry("dog", box(0, 0, 5, 5, SIZE))]
        scenes = [[entry("dog", DOG)], small, [entry("dog", CAT)], [entry("cat", CAT)], [entry("dog", DOG)]]
        forward = truth_of(tmp_path / "forward", *scenes)
        samples = [
            (f"{9 - i}", noise(i, *SIZE), {"truth": entries, "height": SIZE[0], "width": SIZE[1]})
            for i, entries in reversed(list(enumerate(scenes)))
        ]
        backward = TruthSet.of([write(str(tmp_path / "backward"), samples)])
        settings = self.SETTINGS.model_copy(update={"pool": 2, "shots": 2})
        one, other = (candidates(["dog", "cat"], truth, settings, checkpoint) for truth in (forward, backward))
        assert one.keys() == other.keys() == {"dog"}, "a single cat is too few for two shots"
        assert one["dog"].pictures == other["dog"].pictures
        assert len(one["dog"].pictures) == 2
        tiny = next(forward.scenes(forward.shards[0]))[1].sha256
        assert tiny not in candidates(["dog"], forward, self.SETTINGS, checkpoint)["dog"].pictures

    def test_conditionals_are_those_of_a_query_with_that_picture(self, tmp_path: Path, checkpoint: Checkpoint) -> None:
        truth = truth_of(tmp_path, [entry("dog", DOG)], [entry("dog", CAT)])
        pictures = candidates(["dog"], truth, self.SETTINGS, checkpoint)
        first, second = next(truth.scenes(truth.shards[0]))
        support = make_support("", second.image, {"size": list(SIZE), "counts": second.masks[0].counts}, None)
        mode = parse_mode("crop_blur_highlight")
        for asking, texts, alpha in (
            (Asking(protocol="picture"), (), None),
            (Asking(protocol="hybrid", texts="first", templates=("{}",), alpha=0.3), ("dog",), 0.3),
        ):
            query = Query(
                query_id="dog",
                kind="object",
                texts=texts,
                templates=("{}",) if texts else (),
                threshold=0.5,
                supports=(support,),
                mode=mode,
                alpha=alpha,
            )
            questions = ask(truth, checkpoint, asking, pictures)
            assert np.allclose(questions.conditionals(0, first.sha256), embed([query], checkpoint), atol=1e-5)

    def test_what_has_too_few_other_pictures_is_not_asked(
        self, tmp_path: Path, checkpoint: Checkpoint, scorer: Scorer
    ) -> None:
        truth = truth_of(tmp_path, [entry("dog", DOG)], [])
        pictures = candidates(["dog"], truth, self.SETTINGS, checkpoint)
        questions = ask(truth, checkpoint, Asking(protocol="picture"), pictures)
        assert pictures_of(scored(scorer, truth, questions), "object", "dog") == (1, 0)
        assert ask(truth, checkpoint, Asking(protocol="picture"), {}).things == ()


def config(*rows: dict[str, Any], **changes: Any) -> EvaluateConfig:
    return EvaluateConfig.parse(
        {
            "truth": {"test": "a/", "tune": "b/", "held-out": "c/"},
            "model": {"checkpoint": "d/"},
            "supports": {"truth": "tune"},
            "rows": [{"name": str(number), **row} for number, row in enumerate(rows)],
            "output": {"url": "e/"},
            **changes,
        }
    )


def vocabulary(*query_ids: str) -> dict[str, Thing]:
    kinds = {query_id: "coloured object" if "-" in query_id else "object" for query_id in query_ids}
    return {query_id: Thing(query_id, kind, (query_id,)) for query_id, kind in kinds.items()}


def test_rows_that_ask_alike_are_asked_once_and_thresholds_come_from_whole_kinds() -> None:
    seen = vocabulary("dog", "cat", "red-dog")
    found = jobs_of(
        config(
            {"kinds": ["object"], "pictures": "present"},
            {"queries": ["dog"]},
            {"protocol": "picture", "kinds": ["object"], "pictures": "present"},
            {"truth": "held-out", "queries": ["red-cat"]},
            tune="tune",
        ),
        {"test": seen, "tune": seen, "held-out": vocabulary("red-cat", "dog")},
    )
    asked = {
        (job.truth, job.asking.protocol): ({thing.query_id for thing in job.things}, job.everywhere) for job in found
    }
    assert asked == {
        ("test", "text"): ({"dog", "cat"}, True),
        ("tune", "text"): ({"dog", "cat", "red-dog"}, True),
        ("test", "picture"): ({"dog", "cat"}, False),
        ("tune", "picture"): ({"dog", "cat"}, False),
        ("held-out", "text"): ({"red-cat"}, True),
    }


def test_a_row_that_asks_for_nothing_is_named() -> None:
    message = "row '0': nothing to ask on the truth set 'test': it has 1 queries, of the kinds object, and no cow"
    with pytest.raises(UserError, match=message):
        jobs_of(config({"queries": ["cow"]}), {"test": vocabulary("dog")})


def test_pictures_and_models_that_cannot_be_measured_are_named(
    tmp_path: Path, checkpoint: Checkpoint, scorer: Scorer
) -> None:
    size = {"height": SIZE[0], "width": SIZE[1]}
    truth = truth_of(tmp_path / "c", [entry("dog", DOG)])
    questions = ask(truth, checkpoint, TEXT)
    broken = TruthSet.of([write(str(tmp_path / "a"), [("x", b"no picture", {"truth": [], **size})])])
    with pytest.raises(UserError, match=r"s-000\.tar/x: no JPEG.*must be readable"):
        scorer.score(broken, broken.shards[0], [questions])
    other = TruthSet.of([write(str(tmp_path / "b"), [("x", noise(0, 20, 30), {"truth": [], **size})])])
    with pytest.raises(UserError, match=r"the image is 30×20 pixels \(width×height\), its truth 110×70"):
        scorer.score(other, other.shards[0], [questions])
    assert questions.texts_wc is not None
    questions.texts_wc[0][:] = np.nan
    with pytest.raises(UserError, match="the model's answer to 'dog' is not finite"):
        scorer.score(truth, truth.shards[0], [questions])


def seen(
    checkpoint: Checkpoint, finer: Finer, picture: bytes, names: list[str], size: tuple[int, int]
) -> dict[str, tuple[np.ndarray, float]]:
    """By the engine alone: probabilities at the image's size, and the greatest on its grid."""
    engine = Engine(make_model(checkpoint, batch=1, decode_chunk=8), None, finer.refine, finer.views)
    decoded = decode(picture, checkpoint.preprocessing, views=finer.views)
    gathering = Gathering(1, checkpoint.preprocessing.size, finer.views)
    gathering.add(decoded.pixels_hwc, decoded.large_hwc)
    prompts = engine.embed(embed_texts(checkpoint, names))
    (block,) = engine.segment(gathering.done(), prompts, np.full(len(names), -np.inf), want_logits=True)
    assert block.grid == (192, 192)
    assert block.logits_kwh is not None
    grids = torch.from_numpy(block.logits_kwh).transpose(1, 2)[:, None].sigmoid()
    resized = torch.nn.functional.interpolate(grids, size, mode="bilinear", align_corners=False)
    return {name: (resized[n, 0].numpy(), float(grids[n].max())) for n, name in enumerate(names)}


def test_a_model_is_scored_as_its_images_are_seen_in_a_run(tmp_path: Path, checkpoint: Checkpoint) -> None:
    size, names = (200, 210), ["dog", "cat"]
    masks = {"dog": box(10, 20, 80, 90, size), "cat": box(100, 0, 60, 60, size)}
    pictures = [noise(number, *size) for number in (1, 2)]
    entries = [entry(name, mask) for name, mask in masks.items()]
    samples = [(f"{n}", jpeg, {"truth": entries, "height": 200, "width": 210}) for n, jpeg in enumerate(pictures)]
    truth = TruthSet.of([write(str(tmp_path), samples)])
    words = {"views": {"tiles": 2}, "refine": "guided"}
    config = EvaluateConfig.parse(
        {
            "model": {"checkpoint": "here", **words},
            "truth": "there",
            "rows": [{"name": "all"}],
            "output": {"url": "out"},
        }
    )
    assert config.model is not None
    finer = Finer.of(config.model.views, *config.model.refinement.values())
    scorer = Scorer(
        Engine(make_model(checkpoint, batch=2, decode_chunk=3), None, finer.refine, finer.views),
        checkpoint.preprocessing,
        views=finer.views,
    )
    metrics = scored(scorer, truth, ask(truth, checkpoint, TEXT))
    by_hand = Metrics()
    for picture in pictures:
        for name, (probability_hw, score) in seen(checkpoint, finer, picture, names, size).items():
            by_hand.update(name, probability_hw, masks[name], None, kind="object", score=score)
    assert metrics.counts.keys() == by_hand.counts.keys()
    for asked, counts in by_hand.counts.items():
        found = metrics.counts[asked]
        assert np.abs(np.cumsum(found.pixels_cb - counts.pixels_cb, axis=1)).max() <= 5, "more than rounding"
        assert np.array_equal(found.images_cb, counts.images_cb)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"refine_radius": 12}, r"model\.refine_radius: of no use without model\.refine"),
        ({"views": {"floor": 0.1}}, r"model\.views\.floor: of no use"),
        ({"views": {"tiles": 7}}, r"model\.views\.tiles"),
    ],
)
def test_views_and_borders_are_checked(model: dict[str, Any], said: str) -> None:
    values = {"truth": "there", "rows": [{"name": "all"}], "output": {"url": "out"}}
    with pytest.raises(UserError, match=said):
        EvaluateConfig.parse({**values, "model": {"checkpoint": "here", **model}})
