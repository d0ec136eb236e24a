"""PhraseCut+ sampling: what is asked, and that nothing but seed and position decides it."""

from collections import Counter

import numpy as np
import pytest

from clipseg_ray.errors import UserError
from clipseg_ray.training.collection import TrainingQuery, TruthBuilder
from clipseg_ray.training.config import SamplingConfig
from clipseg_ray.training.sampling import Sampler


def query(name, *labels):
    return TrainingQuery(name, "phrase", (name, f"some {name}"), frozenset({name, *labels}))


DOG, CAT, RED, UNIQUE, ANIMAL = query("dog"), query("cat"), query("red"), query("unique"), query("animal", "dog")


@pytest.fixture
def truth():
    builder = TruthBuilder()
    for held in [[DOG, RED], [DOG, UNIQUE], [CAT, RED], [], [CAT, DOG, RED], [ANIMAL]]:
        builder.add_image(held)
    return builder.build()


def rows(truth, config, positions=400, seed=5):
    sampler = Sampler(truth, config, seed)
    return [(draw.image, row) for draw in map(sampler.draw, range(positions)) for row in draw.rows]


@pytest.mark.parametrize("origin", ["phrases", "samples"])
def test_a_fifth_is_absent_and_absent_means_absent(truth, origin):
    config = SamplingConfig(negatives_from=origin, template=["plain"])
    asked = rows(truth, config, 3000)
    absent = [(image, row) for image, row in asked if row.truth is None]
    assert len(absent) / len(asked) == pytest.approx(0.2, abs=0.03)
    for image, row in absent:
        held = [truth.queries[q] for q in truth.query_t[truth.start_n[image] : truth.start_n[image + 1]]]
        # nor is a dog asked for as absent where an animal that may be a dog was marked
        assert truth.queries[row.query].labels.isdisjoint(label for each in held for label in each.labels)
    for image, row in asked:
        if row.truth is not None:
            assert row.truth in truth.of(image)
            assert truth.query_t[row.truth] == row.query


def test_supports_show_the_same_query_in_another_picture_or_there_is_none(truth):
    asked = rows(truth, SamplingConfig(negatives=0.5), 2000)
    for image, row in asked:
        if row.support is None:
            assert row.share == 0
            continue
        assert truth.query_t[row.support] == row.query
        assert truth.image_t[row.support] != image
        assert 0 <= row.share <= 1
    alone = {truth.queries[row.query].query_id for _, row in asked if row.support is None and row.truth is not None}
    assert alone == {"unique", "animal"}
    shares = np.array([row.share for _, row in asked if row.support is not None])
    assert np.histogram(shares, 4, (0, 1))[0] / len(shares) == pytest.approx([0.25] * 4, abs=0.05)


def test_the_blend_and_the_share_of_picture_prompts_are_configured(truth):
    config = SamplingConfig(support_share=0.5, support_weight=(0.5, 0.6), support_alone=0.25, negatives=0)
    asked = [row for image, row in rows(truth, config, 2000) if truth.queries[row.query].query_id == "dog"]
    shares = np.array([row.share for row in asked if row.support is not None])
    assert len(shares) / len(asked) == pytest.approx(0.5, abs=0.06)
    assert (shares == 1).mean() == pytest.approx(0.25, abs=0.06)
    assert ((shares >= 0.5) & (shares <= 0.6)).sum() == (shares < 1).sum()


def test_an_epoch_asks_every_pair_once_and_several_phrases_every_picture_once(truth):
    pairs = rows(truth, SamplingConfig(negatives=0), len(truth.query_t))
    assert sorted(row.truth for _, row in pairs) == list(range(len(truth.query_t)))
    sampler = Sampler(truth, SamplingConfig(negatives=0, phrases_per_image=3), 0)
    draws = [sampler.draw(position) for position in range(len(sampler))]
    assert sorted(draw.image for draw in draws) == [0, 1, 2, 4, 5]  # nothing can be asked of image 3
    for draw in draws:
        counts = Counter(row.truth for row in draw.rows)
        assert set(counts) == set(truth.of(draw.image))
        assert max(counts.values()) - min(counts.values()) <= 1


def test_draws_depend_on_seed_and_position_alone(truth):
    config = SamplingConfig(phrases_per_image=2)
    forwards, backwards = Sampler(truth, config, 1), Sampler(truth, config, 1)
    expected = [forwards.draw(position) for position in range(30)]
    assert [backwards.draw(position) for position in range(29, -1, -1)][::-1] == expected
    assert [Sampler(truth, config, 2).draw(position) for position in range(30)] != expected


def test_one_of_the_wordings_in_one_of_the_sentences(truth):
    config = SamplingConfig(negatives=0, template=["shuffle"])
    texts = {row.text for _, row in rows(truth, config, 2000) if truth.queries[row.query].query_id == "dog"}
    assert texts == {
        sentence.format(wording)
        for sentence in ("a photo of a {}.", "a photograph of a {}.", "an image of a {}.", "{}.")
        for wording in ("dog", "some dog")
    }


@pytest.mark.parametrize("asked", [1, 3])
def test_only_visual_asks_what_another_image_has_and_always_with_its_picture(truth, asked):
    config = SamplingConfig(only_visual=True, negatives=0.4, phrases_per_image=asked, template=["plain"])
    seen = rows(truth, config, 600)
    assert {truth.queries[row.query].query_id for _, row in seen} == {"dog", "cat", "red"}
    assert {image for image, _ in seen} == {0, 1, 2, 4}  # the others hold nothing that two images have
    assert any(row.truth is None for _, row in seen)
    for image, row in seen:
        assert row.support is not None
        assert truth.image_t[row.support] != image


def test_only_visual_minds_the_kinds_and_says_where_nothing_is_left(truth):
    with pytest.raises(UserError, match="only_visual: no query holds in two images"):
        Sampler(truth, SamplingConfig(only_visual=True, support_kinds=["object"]), 0)
