"""The file of verdicts: written, read again, and refused where it is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg_ray.errors import UserError
from clipseg_ray.verdicts.verdict_file import JudgedQuery, VerdictFile, parsed, read, written

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
QUERIES = st.builds(
    lambda query_id, words, scores, said: JudgedQuery(
        query_id=query_id,
        words=words,
        question="0" * 64,
        images=tuple(f"{n}-{words}" for n in range(len(scores))),
        scores=tuple(scores),
        verdicts={n: there for n, there in said.items() if n < len(scores)},
    ),
    TEXT,
    TEXT,
    st.lists(st.floats(0, 1), max_size=6),
    st.dictionaries(st.integers(0, 5), st.booleans()),
)


@given(st.lists(QUERIES, max_size=3, unique_by=lambda query: query.query_id), st.dictionaries(TEXT, TEXT, max_size=2))
def test_what_is_written_is_read_again(queries: list[JudgedQuery], model: dict[str, str]) -> None:
    found = parsed(written(VerdictFile(model=model, queries=queries)))
    assert (dict(found.model), list(found.queries)) == (model, queries)


GOOD = {
    "format": "clipseg-ray verdicts",
    "version": 1,
    "model": {"checkpoint": "x"},
    "queries": [
        {
            "query_id": "mug",
            "words": "a mug",
            "question": "ab",
            "images": [{"image": "a.jpg", "score": 0.5, "there": True}, {"image": "b.jpg", "score": 1}],
        }
    ],
}


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [
        (("format",), "other", 'does not begin with "format"'),
        (("version",), 2, "its version is 2"),
        (("model",), [], "model is no object"),
        (("queries",), {}, "queries is no list"),
        (("queries", 0, "query_id"), 7, "query number 1 lacks"),
        (("queries", 0, "images"), None, "images is no list"),
        (("queries", 0, "images", 0, "score"), 1.5, "mug: image number 1 lacks its name, or a score"),
        (("queries", 0, "images", 1, "score"), True, "image number 2 lacks"),
        (("queries", 0, "images", 0, "there"), "yes", "a.jpg: there is neither true nor false"),
        (("queries", 0, "images", 1, "image"), "a.jpg", "mug: an image is there twice"),
    ],
)
def test_what_is_wrong_is_said(at: tuple[str | int, ...], value: object, says: str, tmp_path: Path) -> None:
    body = json.loads(json.dumps(GOOD))
    place = body
    for key in at[:-1]:
        place = place[key]
    place[at[-1]] = value
    path = tmp_path / "v.json"
    path.write_text(json.dumps(body))
    with pytest.raises(UserError, match=r"v\.json: no file of verdicts \(.*" + says):
        read(str(path))


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b'{"format": 1, "format": 1}'])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parsed(data)
    assert parsed(json.dumps(GOOD).encode()).queries[0].verdicts == {0: True}
