"""Query tables as people have them: what they hold is kept as it is written, what is not meant is said."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipseg_ray.errors import UserError
from clipseg_ray.queries.query import Query
from clipseg_ray.queries.table import load_queries


def load(folder: Path, name: str, content: str | bytes | pa.Table, where: str | None = None) -> list[Query]:
    path = folder / name
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_queries(str(path), where, 0.5)


def refusal(folder: Path, name: str, content: str | bytes | pa.Table) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, name, content)
    assert str(caught.value).startswith(f"{folder / name}: ")
    return str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "query_id,text\nc,un café\n"),
        ("t.tsv", "query_id\ttext\nc\tun café\n"),
        ("t.jsonl", '{"query_id": "c", "text": "un café"}\n'),
        ("t.yaml", "- {query_id: c, text: un café}\n"),
        ("t.txt", "un café\n"),
    ],
)
def test_text_in_any_unicode(tmp_path: Path, encoding: str, name: str, text: str) -> None:
    assert [query.texts for query in load(tmp_path, name, text.encode(encoding))] == [("un café",)]
    assert "is no UTF-8; save it as UTF-8" in refusal(tmp_path, name, text.encode("latin-1"))


def test_a_list_of_prompts(tmp_path: Path) -> None:
    found = load(tmp_path, "prompts.txt", 'a mug\n\n  something, to sit on \r\nsays "hi"\n# 7\n')
    assert [query.texts for query in found] == [("a mug",), ("something, to sit on",), ('says "hi"',), ("# 7",)]


def test_tsv_has_no_quotes(tmp_path: Path) -> None:
    lines = ['"Quoted" start', '"unbalanced start', 'says "hi" inside', 'ends with 5"', "plain, with commas"]
    found = load(tmp_path, "t.tsv", "query_id\ttext\n" + "".join(f"{n}\t{line}\n" for n, line in enumerate(lines)))
    assert [query.texts[0] for query in found] == lines


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "query_id;text\nmug;a mug\n", "'query_id;text', cells separated by ';'; save it with commas"),
        ("t.csv", "sep=;\nquery_id;text\nmug;a mug\n", "cells separated by ';'"),
        ("t.csv", "query_id\ttext\nmug\ta mug\n", "cells separated by tabs"),
        ("t.csv", "mug,a mug\ncup,cup\n", "none of its columns is text, image or expression; they are, by its first"),
        ("t.csv", "id,prompt\na,a mug\n", "id, prompt. Rename prompt to text, id to query_id"),
        ("t.csv", "Query_ID,Text\na,x\n", "Rename Text to text, Query_ID to query_id"),
        ("t.jsonl", '{"caption": "a mug"}\n', "caption. Rename caption to text"),
        ("t.jsonl", '{"text": "a", "threshold": 0.9, "threshold": 0.1}\n', "row 1: the key 'threshold' is there twice"),
        ("t.yaml", "- text: a\n  threshold: 0.9\n  text: b\n", "line 3: the key 'text' is there twice, in line 1 too"),
        ("t.yaml", "- {query_id: 007, text: a}\n", "007 begins with 0, which is octal to some"),
        ("t.yaml", "- {query_id: 12:30, text: a}\n", "12:30 is a number in base 60"),
        ("t.jsonl", '{"text": "a"}\n{"text": "\\ud83d"}\n', "row 2 has '\\ud83d', half a character"),
        ("t.yaml", "- {text: 16}\n", "text: must be a text or a list of texts, not number 16"),
        ("t.tsv", "text\ttext\na\tb\n", "two columns are named 'text'"),
        ("t.parquet", pa.table([["a"], ["b"]], ["text", "text"]), "two columns are named 'text'"),
        ("t.parquet", pa.table({"text": [b"\xe9"]}), "not what cannot be read: byte 0xe9 in line 1 is no UTF-8"),
        ("t.parquet", pa.table({"text": ["a"], "blob": [b"\xff\xd8"]}), "row 1, blob: holds bytes that are no text"),
    ],
)  # fmt: skip
def test_what_was_found_and_what_was_meant(tmp_path: Path, name: str, content: str | pa.Table, said: str) -> None:
    assert said in refusal(tmp_path, name, content)


def test_ids_are_what_was_written(tmp_path: Path) -> None:
    def ids(name: str, content: str | pa.Table) -> list[str]:
        return [query.query_id for query in load(tmp_path, name, content)]

    assert ids("t.csv", "query_id,text\n007,a\n1e5,b\n1.10,c\n1_000,d\n") == ["007", "1e5", "1.10", "1_000"]
    written = ["0x1F", "1.10", "1e3", "2024-01-01", "no", "1_000", "3"]
    assert ids("t.yaml", "".join(f"- {{query_id: {n}, text: t{i}}}\n" for i, n in enumerate(written))) == written
    assert ids("t.jsonl", '{"query_id": 1.10, "text": "a"}\n{"query_id": 3.0, "text": "b"}\n') == ["1.10", "3.0"]
    assert ids("t.parquet", pa.table({"query_id": [1.0, None, 3.0], "text": ["a", "b", "c"]}))[::2] == ["1", "3"]
    assert ids("t.parquet", pa.table({"query_id": [b"k1", b"k2"], "text": [b"a", b"b"]})) == ["k1", "k2"]
    big = 2**64 - 1
    assert ids("t.parquet", pa.table({"query_id": pa.array([big], pa.uint64()), "text": ["a"]})) == [str(big)]


def test_further_columns_keep_their_spelling(tmp_path: Path) -> None:
    def columns(name: str, content: str | pa.Table, where: str | None = None) -> list[dict]:
        return [query.columns for query in load(tmp_path, name, content, where)]

    table = "text,version,n,mixed,big,sci,bad\na,1.10,1,1,18446744073709551616,1e3,nan\nb,1.5,2,2.5,2,5,inf\n"
    first = {"version": "1.10", "n": 1, "mixed": 1, "big": 18446744073709551616, "sci": "1e3", "bad": "nan"}
    second = {"version": "1.5", "n": 2, "mixed": 2.5, "big": 2, "sci": "5", "bad": "inf"}
    assert columns("t.csv", table) == [first, second]
    assert columns("t.csv", table, "version > 1.2 AND big = '2'") == [second]
    assert columns("t.jsonl", '{"text": "a", "v": 1.10}\n{"text": "b", "v": 2}\n') == [{"v": "1.10"}, {"v": "2"}]
    assert columns("t.yaml", "- {text: a, v: 1.10}\n- {text: b, v: x}\n") == [{"v": "1.10"}, {"v": "x"}]
    decimals = pa.table({"text": ["a", "b"], "v": [Decimal("1.10"), None], "d": ["x", "x"]})
    decimals = decimals.set_column(2, "d", decimals["d"].dictionary_encode())
    assert columns("t.parquet", decimals) == [{"v": "1.10", "d": "x"}, {"d": "x"}]
    for found in (first, second):
        assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64(), pa.decimal128(4, 2)])
def test_a_threshold_of_few_bits_is_the_number_that_was_meant(tmp_path: Path, kind: pa.DataType) -> None:
    value = np.float16(0.4) if kind == pa.float16() else Decimal("0.40") if pa.types.is_decimal(kind) else 0.4
    table = pa.table({"text": ["a mug"], "threshold": pa.array([value], kind)})
    (found,) = load(tmp_path, "t.parquet", table)
    (same,) = load(tmp_path, "t.csv", "text,threshold\na mug,0.4\n")
    assert found.threshold == 0.4
    assert found.digest() == same.digest()


def test_conditions_over_numbers_of_more_than_64_bits(tmp_path: Path) -> None:
    rows = f'{{"text": "a", "n": {2**64}}}\n{{"text": "b", "n": 2}}\n'
    assert [query.texts for query in load(tmp_path, "t.jsonl", rows, f"n = '{2**64}'")] == [("a",)]


CELLS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters='|",'), min_size=1)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(CELLS | st.decimals(allow_nan=False, allow_infinity=False).map(str), min_size=1, max_size=4))
def test_any_cell_of_a_further_column_is_written_as_it_was(tmp_path: Path, cells: list[str]) -> None:
    rows = "".join(f"{number},{cell}\n" for number, cell in enumerate(cells))
    found = load(tmp_path, "t.csv", f"text,own\n{rows}")
    assert [str(query.columns["own"]) for query in found] == cells


@pytest.mark.parametrize("box", [[0.1, 0.2, 0.5, 0.5], [0, 0, 1, 1], [0, 0, 0.999, 1.0]])
def test_relative_boxes_are_refused_with_the_reason(picture_folder: Path, box: list[float]) -> None:
    row = json.dumps({"image": "cup.png", "mask": box})
    said = refusal(picture_folder, "t.jsonl", row)
    assert "row 1, mask: a box is [x, y, w, h] in pixels" in said
    assert "relative to the picture: multiply x and w by its width, y and h by its height" in said
    assert len(load(picture_folder, "t.jsonl", json.dumps({"image": "cup.png", "mask": [0, 0, 1, 2]}))) == 1
