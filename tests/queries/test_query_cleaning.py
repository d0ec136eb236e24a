"""Texts are asked as CLIP was trained on them, and kept as they were given."""

import html
import json

import ftfy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg_ray.model.cleaning import cleaned
from clipseg_ray.model.embedding import embed_texts, token_counts
from clipseg_ray.queries.inspection import changed, inspect
from clipseg_ray.queries.naming import set_name
from clipseg_ray.queries.phrase_set import PhraseSet
from clipseg_ray.queries.phrases import PhraseEmbedder
from clipseg_ray.queries.prompt_set import PromptSet, embed
from clipseg_ray.queries.table import from_texts, load_queries

PAIRS = {
    "the dog’s bowl": "the dog's bowl",
    "“stop” sign": '"stop" sign',
    "salt &amp; pepper": "salt & pepper",
    "salt &amp;amp; pepper": "salt & pepper",
    "a ﬁre engine": "a fire engine",
    "ａ　ｄｏｇ": "a dog",
    "a cafÃ©": "a café",
    "a dog\u0000": "a dog",
    "&lt;a dog&gt;": "<a dog>",
}
"""Texts, and what OpenAI's tokenizer goes on with."""


@pytest.mark.parametrize(("text", "meant"), PAIRS.items())
def test_both_are_one_prompt(text, meant, tiny_checkpoint):
    (dirty,) = from_texts([text], 0.5)
    (clean,) = from_texts([meant], 0.5)
    assert dirty.texts != clean.texts
    assert dirty.prompts == clean.prompts == (meant,)
    assert dirty.digest() == clean.digest()
    np.testing.assert_array_equal(embed_texts(tiny_checkpoint, [text]), embed_texts(tiny_checkpoint, [meant]))
    np.testing.assert_array_equal(embed([dirty], tiny_checkpoint), embed([clean], tiny_checkpoint))
    assert token_counts(tiny_checkpoint, [text]) == token_counts(tiny_checkpoint, [meant])
    phrases = PhraseEmbedder(tiny_checkpoint, PhraseSet("caption", ("a photo of a {}.",), 0.5))
    np.testing.assert_array_equal(phrases.embed([text]), phrases.embed([meant]))


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab &;#<>amp'’“ﬁÃ©é\u0301\t\n39x{}"), max_size=12))
def test_it_is_what_openai_does_and_of_plain_text_nothing(text):
    assert cleaned(text) == html.unescape(html.unescape(ftfy.fix_text(text))).strip()


def test_a_template_is_cleaned_as_well(tmp_path):
    rows = [{"query_id": "a", "text": "dog", "template": "it’s a {}"}, {"query_id": "b", "text": "dog"}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    a, b = load_queries(str(tmp_path / "t.jsonl"), None, 0.5)
    assert (a.prompts, a.templates) == (("it's a dog",), ("it’s a {}",))
    assert list(changed([a, b])) == ["query 'a': 'it’s a {}' is read as \"it's a {}\", as CLIP's texts were"]


def test_the_table_keeps_what_was_given(tiny_checkpoint):
    queries = from_texts(["the dog’s bowl", "a cat"], 0.5)
    asked = PromptSet.of(queries, embed(queries, tiny_checkpoint))
    table = asked.to_table()
    assert ["the dog’s bowl"] in table["texts"].to_pylist()
    again = PromptSet.from_table(table)
    assert again.members == asked.members
    straight = from_texts(["the dog's bowl", "a cat"], 0.5)
    assert set_name(straight) == asked.name


def test_queries_says_what_it_changed():
    texts = ["a dog", "the dog’s bowl", "cafe\u0301", "salt &amp; pepper"]
    queries = from_texts(texts, 0.5)
    _, rows, findings, _ = inspect(queries, "queries", None)
    assert [row[2] for row in rows] == ["a dog", "the dog's bowl", "café", "salt & pepper"]
    assert findings == [
        f"query {queries[1].query_id!r}: 'the dog’s bowl' is read as \"the dog's bowl\", as CLIP's texts were",
        f"query {queries[3].query_id!r}: 'salt &amp; pepper' is read as 'salt & pepper', as CLIP's texts were",
    ]


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("affordances", "ps-eaaf43e47c09d5a1"),
        ("properties", "ps-7b7428ec313a616c"),
        ("coco_objects", "ps-8ffa5de72deb43a3"),
        ("demo", "ps-f25d33a9eb1cc881"),
    ],
)
def test_shipped_tables_have_nothing_to_clean(table, name):
    queries = load_queries(f"builtin:{table}", None, 0.5)
    assert list(changed(queries)) == []
    assert set_name(queries) == name
