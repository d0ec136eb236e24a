"""Compressed tars are known by what they hold, not by how they are called."""

import bz2
import gzip
import lzma
import os
import struct
from pathlib import Path

import pyarrow as pa
import pytest

from clipseg_ray.sources.base import Shard
from clipseg_ray.sources.compression import ENDINGS, compression_of
from clipseg_ray.sources.listing import discover
from clipseg_ray.sources.webdataset import WebDataset
from tests.tars import tar_of

IMAGES = [(f"{i}.jpg", os.urandom(3000)) for i in range(40)]
TAR = tar_of(IMAGES)


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


PACK = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd, "plain": bytes}


def read(folder: Path, name: str, data: bytes):
    (folder / name).write_bytes(data)
    listing = discover([str(folder / name)], "webdataset")
    return list(WebDataset(listing.root).samples(Shard.of_object(listing.objects[0])))


@pytest.mark.parametrize(
    "name", ["s.tar", *(f"s{ending.upper()}" for endings in ENDINGS.values() for ending in endings)]
)
@pytest.mark.parametrize("kind", PACK)
def test_any_compression_under_any_name(tmp_path: Path, kind: str, name: str) -> None:
    samples = read(tmp_path, name, PACK[kind](TAR))
    assert [(sample.key, sample.image) for sample in samples] == [(n[:-4], data) for n, data in IMAGES]
    assert {sample.position is None for sample in samples} == {kind != "plain"}
    assert {sample.offset is None for sample in samples} == {kind != "plain"}


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd"])
def test_streams_that_are_joined(tmp_path: Path, kind: str) -> None:
    pieces = [TAR[start : start + 50_001] for start in range(0, len(TAR), 50_001)]
    samples = read(tmp_path, "s.tar", b"".join(map(PACK[kind], pieces)))
    assert [sample.image for sample in samples] == [data for _, data in IMAGES]


def test_a_skippable_frame_before_zstandard(tmp_path: Path) -> None:
    samples = read(tmp_path, "s.tar.zst", b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"xxxx" + zstd(TAR))
    assert [sample.image for sample in samples] == [data for _, data in IMAGES]


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd"])
def test_a_cut_gives_what_precedes_it_and_one_error(tmp_path: Path, kind: str) -> None:
    packed = PACK[kind](TAR)
    samples = read(tmp_path, "s.tar", packed[: len(packed) // 2])
    *good, last = samples
    assert [sample.image for sample in good] == [data for _, data in IMAGES[: len(good)]]
    assert (last.status, last.breaks_off) == ("truncated", True)
    assert "of the uncompressed archive" in str(last.error)


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd"])
def test_what_storage_raises_is_no_fault_of_the_archive(flaky, kind: str) -> None:
    flaky.files["b/s.tar"] = PACK[kind](TAR)
    listing = discover(["flaky://b/s.tar"], None)
    source, shard = WebDataset(listing.root), Shard.of_object(listing.objects[0])
    for plan in ([4000, 0, 0], [4000, "raise"], ["raise"]):
        flaky.plan[:] = plan
        with pytest.raises(OSError, match=r"announced|reset"):
            list(source.samples(shard))


def test_a_tar_whose_first_name_looks_compressed(tmp_path: Path) -> None:
    samples = read(tmp_path, "s.tar.gz", tar_of({"BZh9.jpg": b"a", "b.jpg": b"b"}))
    assert [sample.key for sample in samples] == ["BZh9", "b"]
    assert compression_of(b"", "x.tar") is None
    assert compression_of(b"no tar", "x.TGZ") == "gzip"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html><html>404</html>" * 40, "HTML, XML or SVG text"),
        (b"PK\x03\x04" + bytes(range(256)) * 9, "a ZIP archive"),
        (gzip.compress(b"no tar at all" * 900, mtime=0), "gzip data"),
        (b"version https://git-lfs.github.com/spec/v1\n" * 30, "a Git LFS pointer"),
        (b"nothing of that kind\n" * 30, "text"),
    ],
)
def test_what_is_no_tar_is_called_by_its_kind(tmp_path: Path, data: bytes, words: str) -> None:
    (sample,) = read(tmp_path, "s.tar", data)
    assert (sample.status, sample.key, sample.breaks_off) == ("truncated", "@0", True)
    assert f"it is {words}" in str(sample.error)


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    for name in ("s.tar", "s.tar.gz", "s.tar.zst"):
        (sample,) = read(tmp_path, name, b"")
        assert (sample.status, sample.breaks_off) == ("truncated", True)
        assert "breaks off at byte 0 (it has no bytes)" in str(sample.error)
