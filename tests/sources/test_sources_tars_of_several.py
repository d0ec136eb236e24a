"""Samples of several images, and samples whose members lie apart."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from clipseg_ray.errors import UserError
from clipseg_ray.sources.base import Shard
from clipseg_ray.sources.chunking import Chunking
from clipseg_ray.sources.chunks import Chunk, ShardRecord, read_chunks
from clipseg_ray.sources.listing import discover
from clipseg_ray.sources.webdataset import WebDataset
from tests.tars import tar_of

SEVERAL = [
    ("0.jpg", b"j0"),
    ("0.png", b"p0"),
    ("0.json", b'{"uid": "zero"}'),
    ("1.seg.png", b"s1"),
    ("1.jpg", b"j1"),
    ("2.png", b"p2"),
    ("3.left.png", b"l3"),
    ("3.right.png", b"r3"),
    (".hidden.jpg", b"h"),
    ("._4.jpg", b"fork"),
    ("4.jpg", b"j4"),
    ("4.jpg", b"again"),
]


def opened(folder: Path, members, name="s.tar", mode="w", **settings):
    (folder / name).write_bytes(tar_of(members, mode))
    listing = discover([str(folder / name)], "webdataset")
    return WebDataset(listing.root, **settings), Shard.of_object(listing.objects[0])


def record_of(source, shard, images=256) -> tuple[list, ShardRecord]:
    *chunks, record = read_chunks(source, shard, Chunking(images), lambda index: True)
    assert isinstance(record, ShardRecord)
    return [sample for chunk in chunks for sample in chunk.samples], record


def test_a_second_image_is_counted(tmp_path: Path) -> None:
    samples, record = record_of(*opened(tmp_path, SEVERAL))
    assert [(sample.key, sample.image, sample.further) for sample in samples] == [
        ("0", b"j0", 1),
        ("1", b"j1", 1),
        ("2", b"p2", 0),
        ("3", None, 1),  # the hidden one
        ("4", b"j4", 1),
    ]
    assert "3 has left.png, right.png, none of" in str(samples[3].error)
    assert record.further == 4
    assert ShardRecord.from_values(json.loads(record.to_json())) == record


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_all_of_them_with_ids_of_their_own(tmp_path: Path, mode: str) -> None:
    source, shard = opened(tmp_path, SEVERAL, mode=mode, image_field="*", id_field="uid")
    samples, record = record_of(source, shard)
    assert [(sample.image_id, sample.key, sample.image) for sample in samples] == [
        ("zero.jpg", "0.jpg", b"j0"),
        ("zero.png", "0.png", b"p0"),
        ("s.tar/1.seg.png", "1.seg.png", b"s1"),
        ("s.tar/1.jpg", "1.jpg", b"j1"),
        ("s.tar/2.png", "2.png", b"p2"),
        ("s.tar/3.left.png", "3.left.png", b"l3"),
        ("s.tar/3.right.png", "3.right.png", b"r3"),
        ("s.tar/4.jpg", "4.jpg", b"j4"),
        ("s.tar/4.jpg", "4.jpg", b"again"),
    ]
    assert (record.further, record.repeated) == (1, ("s.tar/4.jpg",))
    assert {sample.fields.get("uid") for sample in samples[:2]} == {"zero"}
    for index, sample in enumerate(samples):
        if sample.position is not None:
            assert list(source.samples(shard, sample.position)) == samples[index:]
    for size in (1, 2, 3, 5):
        chunks = list(read_chunks(source, shard, Chunking(size), lambda index: True))[:-1]
        _, known = record_of(source, shard, size)
        for chunk in chunks:
            assert isinstance(chunk, Chunk)
            assert list(read_chunks(source, shard, Chunking(size), {chunk.index}, known)) == [chunk]


@pytest.mark.parametrize("field", ["png;jpg", "png,jpg", ".PNG; jpg"])
def test_a_list_as_webdataset_writes_it(tmp_path: Path, field: str) -> None:
    samples, _ = record_of(*opened(tmp_path, SEVERAL[:6], image_field=field))
    assert [sample.image for sample in samples] == [b"p0", b"j1", b"p2"]


@pytest.mark.parametrize("size", [2, 256])
def test_too_large_and_linked_images_beside_good_ones(tmp_path: Path, size: int) -> None:
    members = [("0.jpg", b"x" * 50), ("0.png", b"p0"), ("1.jpg", b"j1")]
    samples, _ = record_of(*opened(tmp_path, members, image_field="*", max_image_bytes=10), size)
    assert [(sample.key, sample.status) for sample in samples] == [
        ("0.jpg", "too_large"), ("0.png", "ok"), ("1.jpg", "ok"),
    ]  # fmt: skip


def interleaved(*orders: str) -> list[tuple[str, bytes]]:
    return [(f"{i:03}.{kind}", json.dumps({"uid": f"u{i}"}).encode()) for kind in orders for i in range(5)]


@pytest.mark.parametrize("kinds", [("jpg", "json"), ("json", "jpg"), ("jpg", "png"), ("png", "txt", "jpg")])
@pytest.mark.parametrize("mode", ["w", "w:xz"])
@pytest.mark.parametrize("field", [None, "*"])
def test_a_tar_that_is_not_sorted_is_refused_with_the_command_that_sorts_it(
    tmp_path: Path, kinds: tuple[str, ...], mode: str, field: str | None
) -> None:
    name = "my s.tar" if mode == "w" else "my s.tar.xz"
    source, shard = opened(tmp_path, interleaved(*kinds), name, mode, image_field=field, id_field="uid")
    with pytest.raises(UserError) as caught:
        record_of(source, shard, 2)
    message = str(caught.value)
    assert message.startswith(f"{name}: its samples are not consecutive: {kinds[1]} of 000 ")
    command = message.partition("Sort it: ")[2].partition(" , and")[0]
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    listing = discover([str(tmp_path / "my s-sorted.tar")], None)
    source = WebDataset(listing.root, id_field="uid")
    samples, _ = record_of(source, Shard.of_object(listing.objects[0]))
    assert [sample.key for sample in samples] == [f"{i:03}" for i in range(5)]
    if "json" in kinds:
        assert [sample.image_id for sample in samples] == [f"u{i}" for i in range(5)]
    assert shlex.split(command)[0] == "mkdir"


def test_the_same_members_again_are_a_repeated_id_and_no_refusal(tmp_path: Path) -> None:
    members = [(f"{key}.{kind}", b"{}") for key in "abacb" for kind in ("jpg", "json")]
    samples, record = record_of(*opened(tmp_path, members))
    assert [sample.key for sample in samples] == list("abacb")
    assert record.repeated == ("s.tar/a", "s.tar/b")


def test_only_a_shard_of_which_nothing_is_read_is_broken(tmp_path: Path) -> None:
    whole = tar_of([(f"{i}.jpg", b"x" * 600) for i in range(3)])
    for cut, broken in ((0, True), (100, True), (600, True), (1500, False), (3000, False), (len(whole), False)):
        (tmp_path / "s.tar").write_bytes(whole[:cut])
        listing = discover([str(tmp_path / "s.tar")], None)
        _, record = record_of(WebDataset(listing.root), Shard.of_object(listing.objects[0]))
        assert bool(record.broken) is broken, cut
        assert not broken or record.broken.startswith("s.tar: the archive breaks off at byte ")
