"""Manifests with the oddities of those that people have: no row is lost to another, and what is wrong is said."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipseg_ray.errors import UserError
from clipseg_ray.sources.base import Sample
from clipseg_ray.sources.formats import source_of
from clipseg_ray.sources.listing import append_shards, discover


def samples_of(folder: Path, data: str | bytes, name: str = "m.csv", **settings: Any) -> list[Sample]:
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    for image in "abc":
        (folder / f"{image}.jpg").write_bytes(image.encode())
    listing = discover([str(folder / name)], "manifest")
    source = source_of("manifest", listing.root, **settings)
    return [sample for shard in append_shards([], listing, source, slice_images=9) for sample in source.samples(shard)]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("m.csv", 'url,c\na.jpg,"open\nb.jpg,x\nc.jpg,y\n', r"\(line 2: a quote that opens there is never closed\)"),
        ("m.csv", 'url,c\na.jpg,"x" y\nb.jpg,z\n', r"\(line 2: a cell in quotes goes on after its closing quote; "),
        (
            "m.csv",
            "url,c\na.jpg,x\n\nb.jpg\n",
            r"line 4 has 1 cells, the header 2 \(url, c\); put cells with commas in",
        ),
        ("m.tsv", "url\tc\na.jpg\tx\ty\n", r"line 2 has 3 cells, the header 2 \(url, c\)"),
        ("m.tsv", "url,c\na.jpg,x\n", r"separated by commas; save it with tabs between them, or name it \.csv"),
        ("m.csv", "sep=,\nurl,c\na.jpg,x\n", "'sep=,', which only Excel reads; remove it"),
        ("m.csv", "", "it is empty"),
        ("m.csv", "url,c\n", "no row, so no image is named"),
        ("m.jsonl", "\n", "no row, so no image is named"),
        ("m.csv", b"<html>Not found</html>", "it is HTML or XML"),
        ("m.csv", gzip.compress(b"url\na.jpg\n", mtime=0), "it is gzip data"),
        ("m.csv", b"PK\x03\x04\xff\xfe\xff", "it is a ZIP archive"),
        ("m.parquet", b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
        ("m.jsonl", '[{"url": "a.jpg"}]', "line 1 is no JSON object; each line is one"),
        ("m.jsonl", '{\n"url": "a.jpg"\n}', r"line 1 is no JSON \(.*line 1 column 2 .*\); each line is one object"),
    ],
)
def test_manifests_that_cannot_be_read_right(tmp_path: Path, name: str, data: str | bytes, said: str) -> None:
    with pytest.raises(UserError, match=rf"^{name}: .*{said}"):
        samples_of(tmp_path, data, name)


def test_rows_without_an_image_say_so(tmp_path: Path) -> None:
    found = samples_of(tmp_path, 'url,c\n,x\n  ,y\n"a.jpg",z\n')
    assert [(s.key, s.status) for s in found] == [("m.csv@1", "missing"), ("m.csv@2", "missing"), ("a.jpg", "ok")]
    assert str(found[1].error).endswith("m.csv@2: no image can be there: its row names no image")
    found = samples_of(tmp_path, '{"url": NaN}\n{"url": null}\n{"image": "b.jpg"}\n{"url": "a.jpg"}\n', "m.jsonl")
    assert [(s.key, s.status) for s in found[:3]] == [(f"m.jsonl@{row}", "missing") for row in (1, 2, 3)]
    assert found[3].image == b"a"


def test_rows_without_an_id_keep_their_image_s_path(tmp_path: Path) -> None:
    assert [s.image_id for s in samples_of(tmp_path, "url,id\na.jpg,007\nb.jpg,\nc.jpg, \n", id_field="id")] == [
        "007",
        "b.jpg",
        "c.jpg",
    ]


def test_a_column_of_ids_that_no_row_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^m\.csv: it has no column 'uid' .* it has url, uuid; did you mean uuid\?"):
        samples_of(tmp_path, "url,uuid\na.jpg,1\n", id_field="uid")
    lines = '{"url": "a.jpg"}\n{"url": "b.jpg", "uid": "B"}\n'
    assert [s.image_id for s in samples_of(tmp_path, lines, "m.jsonl", id_field="uid")] == ["a.jpg", "B"]


def test_numbers_as_ids_are_what_json_says_and_what_parquet_means(tmp_path: Path) -> None:
    lines = '{"url": "a.jpg", "id": 3}\n{"url": "b.jpg", "id": 3.0}\n'
    assert [s.image_id for s in samples_of(tmp_path, lines, "m.jsonl", id_field="id")] == ["3", "3.0"]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"url": ["a.jpg", "b.jpg", "c.jpg"], "id": [3.0, None, 1e300]}), sink)
    found = samples_of(tmp_path, bytes(sink.getvalue()), "m.parquet", id_field="id")
    assert [s.image_id for s in found] == ["3", "b.jpg", "1e+300"]
