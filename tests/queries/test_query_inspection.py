import json
from pathlib import Path

import numpy as np
from PIL import Image

from clipseg_ray.queries.inspection import count_tokens, describe, inspect, render, warnings
from clipseg_ray.queries.prompt_set import embed
from clipseg_ray.queries.table import from_texts, load_queries


def queries_of(folder, *rows):
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_queries(str(folder / "t.jsonl"), None, 0.5)


def test_long_texts_are_warned_of(tiny_checkpoint):
    short, just, long = "a dog", "dog " * 75, "dog " * 80
    queries = from_texts([short, just, long], 0.5)
    counts = count_tokens(queries, tiny_checkpoint)
    assert [counts[query.prompts[0]] for query in queries] == [4, 77, 82]
    (warning,) = warnings(queries, counts)
    assert warning.startswith(f"query {queries[2].query_id!r}: the prompt 'dog dog dog")
    assert "has 82 tokens; CLIP reads 77, so it is truncated and its last 5 are ignored" in warning


def test_what_each_query_becomes(tiny_checkpoint, picture_folder):
    cup = {"image": "cup.png", "mask": "cup-mask.png"}
    queries = queries_of(
        picture_folder,
        {"query_id": "a", "text": "dog", "template": "fixed", "kind": "animal"},
        {"query_id": "b", "text": "dog", "template": "a photo of a {}."},
        {"query_id": "c", "text": "Dog", "template": "fixed", "threshold": 0.2},
        {"query_id": "d", "text": "mug", **cup},
    )
    a, b, c, d = describe(queries, count_tokens(queries, tiny_checkpoint), embed(queries, tiny_checkpoint))
    assert (a.kind, a.prompts, a.tokens) == ("animal", ("a photo of a dog.",), (8,))
    assert (a.duplicates, b.duplicates, c.duplicates, d.duplicates) == (("b",), ("a",), (), ())
    assert [other for other, _ in a.near_duplicates] == ["c"]
    assert [other for other, _ in c.near_duplicates] == ["a", "b"]
    assert c.near_duplicates[0][1] > 0.9999
    assert d.near_duplicates == ()
    assert (d.mode, d.alpha) == ("crop_blur_highlight(background=0.1, context=0.1, sigma=3.0)", 0.5)
    assert d.pictures == (f"{picture_folder}/cup.png",)


def test_without_a_model(tmp_path):
    (only,) = describe(from_texts(["dog"], 0.5))
    assert (only.prompts, only.tokens, only.near_duplicates) == (("dog",), (), ())


def test_pictures_are_rendered_as_the_model_sees_them(tiny_checkpoint, picture_folder):
    cup = {"image": "cup.png", "mask": "cup-mask.png"}
    queries = queries_of(
        picture_folder,
        {"query_id": "just a dog", "text": "dog"},
        {"query_id": "the cup/whole", "image": ["cup.png", "other.png"], "mode": "whole"},
        {"query_id": "cup", **cup, "mode": "overlay"},
    )
    written = render(queries, tiny_checkpoint.preprocessing, str(picture_folder / "seen"))
    assert [url.rsplit("/", 1)[1] for url in written] == ["the-cup-whole-1.png", "the-cup-whole-2.png", "cup-1.png"]
    assert len(list((picture_folder / "seen").iterdir())) == 3
    whole, overlay = (np.asarray(Image.open(written[index])) for index in (0, 2))
    expected = Image.open(picture_folder / "cup.png").resize((64, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(whole, np.asarray(expected))
    np.testing.assert_array_equal(overlay[25, 20], whole[25, 20])  # inside the mask
    mean_colour = np.rint(np.array(tiny_checkpoint.preprocessing.mean) * 255)
    np.testing.assert_array_equal(overlay[60, 60], mean_colour)  # far outside it


def test_no_picture_is_written_over_another(tiny_checkpoint, picture_folder):
    ids = ["a/b", "a b", "A b", "a-1", "a"]
    queries = queries_of(picture_folder, *({"query_id": id_, "image": "cup.png", "mode": "whole"} for id_ in ids))
    written = render(queries, tiny_checkpoint.preprocessing, str(picture_folder / "seen"))
    names = [url.rsplit("/", 1)[1] for url in written]
    assert len({name.casefold() for name in names}) == 5
    assert names[3:] == ["a-1-1.png", "a-1.png"]
    assert sorted(path.name for path in (picture_folder / "seen").iterdir()) == sorted(names)


def test_who_competes_with_whom_and_what_an_expression_is_made_of(tiny_checkpoint, picture_folder):
    rows = [
        {"query_id": "dog", "text": "dog", "group": "pets"},
        {"query_id": "cat", "text": "cat", "group": "pets"},
        {"query_id": "rest", "text": "background", "group": "pets", "weight": 3, "keep": False},
        {"query_id": "cup", "image": "cup.png", "mask": "cup-mask.png", "suppress": ["dog", "a cat"]},
        {"query_id": "a cat", "expression": "cat OR NOT cup", "keep": False},
        {"query_id": "odd", "expression": 'NOT "a cat"'},
    ]
    queries = queries_of(picture_folder, *rows)
    table = str(picture_folder / "t.jsonl")
    for checkpoint in (None, tiny_checkpoint):
        _, found, findings, summary = inspect(queries, table, checkpoint)
        shown = {row[0]: row[2].splitlines() for row in found}
        assert shown["dog"] == ["dog", "only where the greatest of group pets"]
        assert shown["rest"] == ["background", "only where the greatest of group pets, weight 3", "not written"]
        assert shown["cup"][1] == 'only where above dog, "a cat"'
        assert shown["odd"] == [
            'NOT "a cat"',
            '  "a cat": cat OR NOT cup',
            "  cat: cat",
            "  cup: [cup.png]",
        ]
        assert findings[0] == "group 'pets': each pixel goes to one of dog, cat, rest (weight 3)"
        assert summary.startswith("4 queries of 1 kind, 2 more not written; prompt set ps-")


def test_the_documented_table_is_read():
    example = Path(__file__).parents[2] / "docs" / "queries" / "competing.yaml"
    queries = {query.query_id: query for query in load_queries(str(example), None, 0.5)}
    assert [query_id for query_id, query in queries.items() if not query.keep] == ["background", "animal"]
    assert not any(queries[query_id].is_alone for query_id in ("chair", "red-chair", "other-seats"))
