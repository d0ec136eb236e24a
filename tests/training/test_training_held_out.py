"""Phrases that training may not see: every form of a word, several words as they stand, published lists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import clipseg_ray.training
from clipseg_ray.errors import UserError
from clipseg_ray.training.config import DataConfig, TrainConfig
from clipseg_ray.training.held_out import HeldOut, faults, words_of
from tests.training import release, world

WORDS = json.loads((Path(clipseg_ray.training.__file__).parent / "class_words" / "classes.json").read_text())
CLASSES = [name for name in WORDS if name != "affordances"]


def plural(word: str) -> str:
    """Regular English."""
    if re.search(r"(s|x|z|ch|sh)$", word):
        return word + "es"
    return word[:-1] + "ies" if re.search(r"[^aeiou]y$", word) else word + "s"


def test_every_published_class_goes_in_singular_and_plural_and_with_other_words():
    held = HeldOut([f"pas5i/{fold}" for fold in range(4)])
    for name in CLASSES:
        for word in WORDS[name]:
            for phrase in (word, f"the {word.upper()}, left", f"two {word if ' ' in word else plural(word)}"):
                assert phrase in held, phrase
    for phrase in (
        "men",
        "two women",
        "geese",
        "foxhounds.",
        "People's children",
        "white buses",
        "double decker bus-stop",
    ):
        assert phrase in held, phrase
    for phrase in ("red umbrella", "scarf", "carpet", "category", "thorough", "traffic light", "catalog", "saw"):
        assert phrase not in held, phrase


def test_folds_and_unseen_classes_are_those_of_the_protocols():
    folds = [set(words_of(f"pas5i/{fold}")) for fold in range(4)]
    assert folds[0] == {word for name in CLASSES[:5] for word in WORDS[name]}
    assert set().union(*folds) == {word for name in CLASSES for word in WORDS[name]}
    assert "horse" in HeldOut(["pas5i/2"])
    assert "horse" not in HeldOut(["pas5i/1"])
    unseen = [HeldOut([f"zero-shot/{number}"]) for number in (2, 4, 6, 8, 10)]
    for number, phrase in enumerate(["brown cows", "a couch", "kittens or cat", "train", "an armchair"]):
        assert [phrase in held for held in unseen] == [each >= number for each in range(5)], phrase


def test_affordances_are_the_authors_words():
    held = HeldOut(["affordances"])
    for phrase in ("wheels of bus", "man sitting", "flying kite", "car driven away", "left ear", "person who swam"):
        assert phrase in held, phrase
    assert "white dog" not in held


def test_several_words_are_looked_for_as_they_stand_and_one_word_is_no_part_of_another():
    held = HeldOut(["Potted  Plant", "sheep"])
    for phrase in ("potted plants", "large potted plant.", "sheep's wool", "black-faced sheep"):
        assert phrase in held, phrase
    for phrase in ("plant", "potted flower", "sheepskin"):
        assert phrase not in held, phrase
    assert held.left_out == sorted(["potted plants", "large potted plant.", "sheep's wool", "black-faced sheep"])


@given(
    st.lists(st.sampled_from(["dogs", "red", "wheel", "traffic light", "running"]), max_size=3), st.text(max_size=30)
)
def test_no_text_breaks_it_and_no_entry_holds_nothing(entries, text):
    assert isinstance(text in HeldOut(entries), bool)
    assert text not in HeldOut([])
    for entry in entries:
        assert f"{text} {entry}" in HeldOut(entries)


def test_the_same_words_however_named_are_the_same():
    assert HeldOut(["affordances"]).identity == HeldOut(WORDS["affordances"][::-1]).identity
    assert HeldOut(["pas5i/0"]).identity != HeldOut(["pas5i/1"]).identity


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("pas5i/4", r"pas5i/4: no published list of that name; did you mean pas5i/\d\?"),
        ("zero-shot/3", r"did you mean zero-shot/\d"),
        ("affordance", r"did you mean affordances\?"),
        ("x/y/z", "no published list"),
        (" ", "an entry is empty"),
    ],
)
def test_a_list_that_is_none_is_refused(entry, said):
    assert re.search(said, next(faults(["dog", entry])))
    values = world.settings(Path("scenes"), "out")
    values["data"]["held_out"] = ["dog", entry]
    with pytest.raises(UserError, match=r"data\.held_out: ") as raised:
        TrainConfig.parse(values)
    assert re.search(said, str(raised.value))
    assert not list(faults(["dog", "potted plant", "pas5i/0", "affordances"]))


def test_what_training_may_not_see_is_written_down(tmp_path):
    from clipseg_ray.training.loop import HELD_OUT, open_collection, train

    release.write(tmp_path / "release")
    data = {"url": str(tmp_path / "release"), "format": "phrasecut", "held_out": ["pas5i/2", "wheel"]}
    collection = open_collection(DataConfig.model_validate(data))
    assert {query.query_id for query in collection.truth.queries} == {"black cat"}
    values = world.settings(tmp_path / "release", str(tmp_path / "out"), optimiser={"steps": 1})
    values |= {"data": data, "sampling": {"negatives": 0}}
    train(TrainConfig.parse(values))
    assert json.loads((tmp_path / "out" / HELD_OUT).read_text()) == ["man riding horse", "wheels", "white dog"]
