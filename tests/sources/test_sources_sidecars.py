"""Sidecars, cells and manifests as tools write them: their text is read, or it is said why not."""

from __future__ import annotations

import json
import re
import tarfile
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipseg_ray.errors import UserError
from clipseg_ray.plain_text import Unread
from clipseg_ray.queries.phrase_set import phrases_of
from clipseg_ray.sources.base import Sample, Shard
from clipseg_ray.sources.manifest_rows import rows
from clipseg_ray.sources.parquet import Parquet
from clipseg_ray.sources.sidecars import fields_of
from clipseg_ray.sources.webdataset import WebDataset
from tests.tars import tar_of

SIDECAR = {"uid": "ü-1", "caption": "ein roter Würfel"}


def read(folder: Path, name: str, data: bytes | pa.Table, **settings: Any) -> list[Sample]:
    if isinstance(data, bytes):
        (folder / name).write_bytes(data)
    else:
        pq.write_table(data, folder / name)
    source = WebDataset if name.endswith(".tar") else Parquet
    shard = replace(Shard.at(str(folder / name)), path=name)
    return list(source(str(folder), **settings).samples(shard))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_sidecars_in_any_unicode(tmp_path: Path, encoding: str) -> None:
    text = json.dumps(SIDECAR, ensure_ascii=False)
    data = tar_of({"a.jpg": b"image", "a.json": text.encode(encoding), "a.txt": "grün".encode(encoding)})
    (sample,) = read(tmp_path, "s.tar", data, id_field="uid")
    assert (sample.image_id, sample.status) == ("ü-1", "ok")
    assert sample.fields == {**SIDECAR, "txt": "grün"}


@pytest.mark.parametrize(
    ("sidecar", "said"),
    [
        (
            json.dumps(SIDECAR, ensure_ascii=False).encode("latin-1"),
            "byte 0xfc in line 1 is no UTF-8; save it as UTF-8",
        ),
        (b'{"uid": "A", "caption": "x",}', "trailing comma|double quotes"),
        (b'{"uid": "A", "uid": "B"}', "the key 'uid' is there twice; keep one"),
        (b"[" * 200_000, "nested too deep"),
        (b"", "Expecting value"),
    ],
)
def test_a_sidecar_that_cannot_be_read_is_its_image_s_fault_where_it_is_asked_for(
    tmp_path: Path, sidecar: bytes, said: str
) -> None:
    data = tar_of({"a.jpg": b"image", "a.json": sidecar, "b.jpg": b"image", "b.json": b'{"uid": "b", "caption": "y"}'})
    bad, good = read(tmp_path, "s.tar", data, id_field="uid")
    assert (bad.status, bad.image, bad.image_id) == ("undecodable", None, "s.tar/a")
    assert bad.error is not None
    assert bad.error.startswith("s.tar: uid (input.id_field): a.json cannot be read (")
    assert re.search(said, bad.error)
    assert (good.image_id, good.status) == ("b", "ok")
    # Nobody asks for a field of it: the image is read.
    bad, good = read(tmp_path, "s.tar", data)
    assert (bad.status, bad.image) == ("ok", b"image")
    with pytest.raises(UserError, match=r"queries\.from: field 'caption' of x: a\.json cannot be read"):
        phrases_of(bad.fields, "caption", "x")
    assert phrases_of(good.fields, "caption", "x") == ["y"]


def test_text_members_in_latin_1_are_not_taken_for_others(tmp_path: Path) -> None:
    data = tar_of({"a.jpg": b"image", "a.txt": "grün".encode("latin-1"), "a.meta.json": b"{"})
    (sample,) = read(tmp_path, "s.tar", data)
    assert isinstance(sample.fields["txt"], Unread)
    assert isinstance(sample.fields["meta.json"], Unread)
    with pytest.raises(UserError, match=r"a\.txt cannot be read \(byte 0xfc in line 1 is no UTF-8"):
        phrases_of(sample.fields, "txt", "x")


@settings(max_examples=200, deadline=None)
@given(data=st.binary(), extension=st.sampled_from(["json", "txt", "meta.json", "caption"]))
def test_any_bytes_of_a_sidecar_are_fields(data: bytes, extension: str) -> None:
    fields = fields_of(extension, data, "a")
    assert extension == "json" or list(fields) == [extension]
    for value in fields.values():
        assert not isinstance(value, bytes)


@pytest.mark.parametrize("text", ["7", "1.10", "1e3", "3.0", "-0", "18446744073709551616"])
def test_an_id_of_a_sidecar_is_what_was_written(tmp_path: Path, text: str) -> None:
    (sample,) = read(tmp_path, "s.tar", tar_of({"a.jpg": b"i", "a.json": f'{{"id": {text}}}'.encode()}), id_field="id")
    assert sample.image_id == text


def test_missing_captions_are_none_and_numbers_are_named() -> None:
    nan = float("nan")
    assert phrases_of({"c": nan}, "c", "x") == phrases_of({"c": [None, nan, " "]}, "c", "x") == []
    assert phrases_of({"c": ["a", None]}, "c", "x") == ["a"]
    for value in (12, ["a", 3], {"en": "a"}, True, ["a", ["b"]]):
        with pytest.raises(UserError, match=r"field 'c' of x holds .*; it must be a string or a list of strings"):
            phrases_of({"c": value}, "c", "x")


def dictionary(values: list[Any], kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind).dictionary_encode()


KINDS = {
    "string": lambda values: pa.array(values, pa.string()),
    "large string": lambda values: pa.array(values, pa.large_string()),
    "binary": lambda values: pa.array([value.encode() for value in values], pa.binary()),
    "large binary": lambda values: pa.array([value.encode() for value in values], pa.large_binary()),
    "fixed binary": lambda values: pa.array([value.encode() for value in values], pa.binary(3)),
    "dictionary": lambda values: dictionary(values, pa.string()),
    "binary dictionary": lambda values: dictionary([value.encode() for value in values], pa.binary()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_captions_of_every_kind_of_column(tmp_path: Path, kind: str) -> None:
    column = KINDS[kind]
    images = [b"one", b"two"]
    lists = pa.ListArray.from_arrays([0, 1, 2], column(["abc", "xyz"]))
    plain = pa.table({"id": column(["k-1", "k-2"]), "c": column(["red", "blu"]), "l": lists, "image": images})
    for table in (plain, plain.set_column(3, "image", dictionary(images, pa.binary()))):
        found = read(tmp_path, "s.parquet", table, id_field="id", text_field="c")
        assert [(s.image_id, s.image, s.status) for s in found] == [("k-1", b"one", "ok"), ("k-2", b"two", "ok")]
        assert [phrases_of(s.fields, "c", "x") for s in found] == [["red"], ["blu"]]
        found = read(tmp_path, "s.parquet", table, text_field="l")
        assert [phrases_of(s.fields, "l", "x") for s in found] == [["abc"], ["xyz"]]
        struct = pa.StructArray.from_arrays([table["image"].combine_chunks()], ["bytes"])
        found = read(tmp_path, "t.parquet", table.set_column(3, "image", struct), id_field="id")
        assert [(s.image_id, s.image) for s in found] == [("k-1", b"one"), ("k-2", b"two")]


def test_an_id_of_bytes_that_are_no_text_is_its_image_s_fault(tmp_path: Path) -> None:
    table = pa.table({"id": [b"a", b"\xe9"], "image": [b"one", b"two"], "other": [b"\xff", b"\xff"]})
    good, bad = read(tmp_path, "s.parquet", table, id_field="id")
    assert (good.image_id, good.status, good.fields) == ("a", "ok", {"id": "a"})
    assert (bad.image_id, bad.status, bad.image) == ("s.parquet/1", "undecodable", None)
    assert bad.error == "s.parquet: row 1: id (input.id_field): byte 0xe9 in line 1 is no UTF-8; save it as UTF-8"


@pytest.mark.parametrize(
    ("column", "ids"),
    [
        (pa.array([3.0, None, float("nan"), 5.5]), ["3", "s.parquet/1", "s.parquet/2", "5.5"]),
        (pa.array([0.1, 3.0], pa.float32()), ["0.1", "3"]),
        (pa.array([Decimal("1.10"), Decimal("3.00")]), ["1.10", "3.00"]),
        (pa.array([2**64 - 1, 7], pa.uint64()), ["18446744073709551615", "7"]),
    ],
)
def test_numbers_as_ids_of_parquet(tmp_path: Path, column: pa.Array, ids: list[str]) -> None:
    table = pa.table({"id": column, "image": [b"x"] * len(column)})
    assert [s.image_id for s in read(tmp_path, "s.parquet", table, id_field="id")] == ids


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.table([["a"], ["b"], [b"image"]], ["caption", "caption", "image"])
    with pytest.raises(UserError, match=r"s\.parquet: two columns are named 'caption'; give each its own name"):
        read(tmp_path, "s.parquet", table)


@pytest.mark.parametrize("before", ["image.url", "image.thumb", "image.bytes", "image.path"])
def test_columns_named_like_the_image_and_more_are_not_taken_for_it(tmp_path: Path, before: str) -> None:
    beside = ["x", "y"] if before == "image.url" else [b"small", b"small"]
    struct = pa.array([{"bytes": b"one", "path": "1"}, {"bytes": b"two", "path": "2"}])
    for images in (pa.array([b"one", b"two"]), struct):
        found = read(tmp_path, "s.parquet", pa.table({before: beside, "image": images}))
        assert [s.image for s in found] == [b"one", b"two"]


def manifest(name: str, data: str | bytes, **settings: Any) -> list[dict[str, Any]]:
    return list(rows(data if isinstance(data, bytes) else data.encode(), name, name, **settings))


def test_a_line_of_tsv_is_a_row() -> None:
    captions = ["plain", '"Quoted" start', '"unbalanced start', 'says "hi" inside', 'ends with 5"']
    lines = "".join(f"{number}.jpg\t{caption}\n" for number, caption in enumerate(captions))
    assert [row["caption"] for row in manifest("m.tsv", f"url\tcaption\n{lines}")] == captions


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    ("name", "text"),
    [("m.csv", "url,c\na.jpg,é\n"), ("m.tsv", "url\tc\na.jpg\té\n"), ("m.jsonl", '{"url": "a.jpg", "c": "é"}\n')],
)
def test_manifests_in_any_unicode(encoding: str, name: str, text: str) -> None:
    assert manifest(name, text.encode(encoding)) == [{"url": "a.jpg", "c": "é"}]
    with pytest.raises(UserError, match=rf"^{name}: .*byte 0xe9 in line \d is no UTF-8; save it as UTF-8"):
        manifest(name, text.encode("latin-1"))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("m.csv", "url;c\na.jpg;x\n", "its first line is 'url;c', cells separated by ';'; save it with commas"),
        ("m.csv", "url\tc\na.jpg\tx\n", "separated by tabs; save it with commas between them, or name it .tsv"),
        ("m.csv", "url,url\na.jpg,b.jpg\n", "two columns are named 'url'; give each its own name"),
        ("m.jsonl", '{"url": "a"}\n{"url": "a", "url": "b"}\n', "line 2 is no JSON (the key 'url' is there twice"),
    ],
)
def test_manifests_that_are_refused(name: str, text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        manifest(name, text)
    assert said in str(caught.value)


def test_ids_of_manifests_are_what_was_written(tmp_path: Path) -> None:
    lines = '{"url": "a", "id": 1.10}\n{"url": "b", "id": 7}\n'
    assert [row["id"] for row in manifest("m.jsonl", lines, id_field="id")] == ["1.10", 7]
    pq.write_table(pa.table({"url": ["a", "b"], "id": [3.0, None]}), tmp_path / "m.parquet")
    data = (tmp_path / "m.parquet").read_bytes()
    assert [row["id"] for row in manifest("m.parquet", data, id_field="id")] == [3, None]


def test_columns_of_bytes_in_a_manifest(tmp_path: Path) -> None:
    table = pa.table({"url": [b"a.jpg", b"b.jpg"], "c": [b"x", b"\xe9"], "thumbnail": [b"\xff\xd8", b"\xff\xd8"]})
    pq.write_table(table, tmp_path / "m.parquet")
    data = (tmp_path / "m.parquet").read_bytes()
    assert manifest("m.parquet", data) == [{"url": "a.jpg"}, {"url": "b.jpg"}]
    with pytest.raises(UserError, match=r"m\.parquet: row 2, c: byte 0xe9 in line 1 is no UTF-8"):
        manifest("m.parquet", data, asked=("c",))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(captions=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\t\r\n\0")), min_size=1, max_size=5))
def test_any_text_of_a_tsv_is_itself(captions: list[str]) -> None:
    lines = "".join(f"{number}\t{caption}\n" for number, caption in enumerate(captions))
    assert [row["c"] for row in manifest("m.tsv", f"url\tc\n{lines}")] == captions


def test_a_sidecar_that_is_a_link_is_not_taken_for_none(tmp_path: Path) -> None:
    link = tarfile.TarInfo("b.json")
    link.type, link.linkname = tarfile.LNKTYPE, "a.json"
    members = [("a.jpg", b"a"), ("a.json", b'{"uid": "A", "c": "x"}'), ("b.jpg", b"b"), (link, b"")]
    good, bad = read(tmp_path, "s.tar", tar_of(members), id_field="uid")
    assert (good.image_id, good.status) == ("A", "ok")
    assert (bad.image_id, bad.status) == ("s.tar/b", "undecodable")
    assert bad.error == "s.tar: uid (input.id_field): b.json is a link; links are not followed"
    with pytest.raises(UserError, match=r"field 'c' of s.tar/b: b\.json is a link"):
        phrases_of(read(tmp_path, "s.tar", tar_of(members))[1].fields, "c", "s.tar/b")


@pytest.mark.parametrize("uid", ["null", "NaN", '""', '" "'])
def test_ids_that_are_missing(tmp_path: Path, uid: str) -> None:
    (sample,) = read(tmp_path, "s.tar", tar_of({"a.jpg": b"i", "a.json": f'{{"uid": {uid}}}'.encode()}), id_field="uid")
    assert (sample.image_id, sample.status) == ("s.tar/a", "ok")
