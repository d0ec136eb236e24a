import gzip
import os
import tarfile
import tracemalloc

import pytest

from clipseg_ray.pixels import kinds
from clipseg_ray.sources.base import Member, Shard
from clipseg_ray.sources.listing import discover
from clipseg_ray.sources.webdataset import WebDataset
from clipseg_ray.storage import StaleObject
from tests.tars import tar_of


def read(folder, name, data=None, **settings):
    if data is not None:
        (folder / name).write_bytes(data)
    listing = discover([str(folder / name)], "webdataset")
    source = WebDataset(listing.root, **settings)
    shard = Shard.of_object(listing.objects[0])
    return list(source.samples(shard)), source, shard


def test_groups_members_by_key_and_keeps_sidecars(tmp_path):
    data = tar_of(
        [
            ("./a/0.json", b'{"caption": "a cat", "n": 3}'),
            ("./a/0.JPG", b"zero"),
            ("./a/0.txt", "grün".encode()),
            ("./a/0.npy", b"x" * 5000),
            ("a/._1.jpg", b"resource fork"),
            ("a/1.png", b"one"),
            ("a/1.json", b"[1, 2]"),
            ("b/1.v2.webp", b"two"),
            ("2.seg.png", b"mask"),
            ("2.jpg", b"three"),
            ("README", b"no extension"),
        ]
    )
    samples, source, shard = read(tmp_path, "s.tar", data)
    assert [(s.key, s.image, s.status) for s in samples] == [
        ("a/0", b"zero", "ok"),
        ("a/1", b"one", "ok"),
        ("b/1", None, "missing"),
        ("2", b"three", "ok"),
    ]
    assert samples[0].image_id == "s.tar/a/0"
    assert samples[0].fields == {"caption": "a cat", "n": 3, "txt": "grün"}
    assert samples[1].fields == {"json": [1, 2]}
    assert samples[2].error == f"s.tar: b/1 has v2.webp, none of {', '.join(kinds.ENDINGS)} (input.image_field)"
    assert [s.further for s in samples] == [0, 0, 0, 1]
    for sample in samples:
        assert next(iter(source.samples(shard, sample.position))) == sample
        if sample.image is not None:
            assert data[sample.offset : sample.offset + sample.length] == sample.image
    assert source.count(shard) == 4
    assert source.count(shard, 2) == 2


def test_image_field_and_id_field(tmp_path):
    data = tar_of([("0.jpg", b"j"), ("0.seg.png", b"s"), ("0.png", b"p"), ("0.json", b'{"uid": 7}'), ("1.jpg", b"k")])
    samples, _, _ = read(tmp_path, "s.tar", data, image_field="PNG,jpg", id_field="uid")
    assert [(s.image_id, s.image) for s in samples] == [("7", b"p"), ("s.tar/1", b"k")]
    samples, _, _ = read(tmp_path, "s.tar", image_field="seg.png")
    assert [(s.image, s.status) for s in samples] == [(b"s", "ok"), (None, "missing")]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_joined_archives(tmp_path, form):
    long = "ordner/" * 40 + "bild-ü"
    one = tar_of([(f"{long}0.jpg", b"a" * 512), (f"{long}1.jpg", b"b")], format=form)
    two = tar_of([("c.jpg", b"c")], format=form)
    samples, source, shard = read(tmp_path, "s.tar", one + two)
    assert [(s.key, s.image) for s in samples] == [(f"{long}0", b"a" * 512), (f"{long}1", b"b"), ("c", b"c")]
    assert list(source.samples(shard, samples[1].position)) == samples[1:]


def test_links_are_reported(tmp_path):
    folder = tarfile.TarInfo("d.jpg")
    folder.type = tarfile.DIRTYPE
    link = tarfile.TarInfo("b.jpg")
    link.type, link.linkname = tarfile.LNKTYPE, "a.jpg"
    samples, _, _ = read(tmp_path, "s.tar", tar_of([(folder, b""), (link, b"")]))
    assert [(s.key, s.status, s.error) for s in samples] == [
        ("b", "missing", "s.tar: b.jpg is a link; links are not followed")
    ]


@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz"])
def test_gzip(tmp_path, suffix):
    samples, _, _ = read(tmp_path, f"s{suffix}", gzip.compress(tar_of([("0.jpg", b"zero"), ("1.jpg", b"one")])))
    assert [(s.key, s.image, s.position, s.offset) for s in samples] == [
        ("0", b"zero", None, None),
        ("1", b"one", None, None),
    ]


@pytest.mark.parametrize("cut", range(0, 6 * 512 + 1, 256))
def test_every_cut_gives_what_precedes_it_and_one_error(tmp_path, cut):
    whole = tar_of([("0.jpg", b"0" * 700), ("1.jpg", b"1" * 700)])
    samples, source, shard = read(tmp_path, "s.tar", whole[:cut])
    good = [s for s in samples if s.status == "ok"]
    assert [s.image for s in good] == [b"0" * 700, b"1" * 700][: (cut >= 512 + 700) + (cut >= 3 * 512 + 512 + 700)]
    assert len(samples) == len(good) + 1
    error = samples[-1]
    assert (error.status, error.image) == ("truncated", None)
    assert error.error.startswith("s.tar: the archive breaks off at byte ")
    assert error.image_id.startswith("s.tar/")
    if error.position is not None:
        assert list(source.samples(shard, error.position)) == [error]


def test_the_cut_image_is_named(tmp_path):
    whole = tar_of([("0.jpg", b"0" * 700), ("1.jpg", b"1" * 700)])
    samples, _, _ = read(tmp_path, "s.tar", whole[: 4 * 512 + 100])
    assert samples[-1].image_id == "s.tar/1"
    assert samples[-1].error == (
        "s.tar: the archive breaks off at byte 2148 (1.jpg has 100 of 700 bytes); nothing behind it was read"
    )


def test_garbage_midway_and_text_named_tar(tmp_path):
    whole = bytearray(tar_of([("0.jpg", b"zero"), ("1.jpg", b"one")]))
    whole[1024:1100] = os.urandom(76)
    samples, _, _ = read(tmp_path, "s.tar", bytes(whole))
    assert [(s.image_id, s.status) for s in samples] == [("s.tar/0", "ok"), ("s.tar/@1024", "truncated")]
    samples, _, _ = read(tmp_path, "t.tar", b"this is no tar\n" * 100)
    assert [(s.image_id, s.status) for s in samples] == [("t.tar/@0", "truncated")]
    assert "t.tar: the archive breaks off at byte 0 (" in samples[0].error
    samples, _, _ = read(tmp_path, "u.tar", b"")
    assert [s.status for s in samples] == ["truncated"]


def test_broken_gzip(tmp_path):
    images = [(f"{i}.jpg", os.urandom(3000)) for i in range(10)]
    packed = gzip.compress(tar_of(images))
    damaged = bytearray(packed)
    damaged[-8:-4] = b"abcd"  # the checksum
    for data, least, most in ((packed[: len(packed) // 2], 3, 6), (bytes(damaged), 10, 10), (b"no gzip", 0, 0)):
        samples, _, _ = read(tmp_path, "s.tar.gz", data)
        good = [s for s in samples if s.status == "ok"]
        assert least <= len(good) <= most
        assert [s.image for s in good] == [data for _, data in images[: len(good)]]
        assert [s.status for s in samples[len(good) :]] == ["truncated"]
        assert "of the uncompressed archive" in samples[-1].error


def test_a_short_body_is_no_truncation(flaky):
    data = tar_of([("0.jpg", b"zero"), ("1.jpg", b"one" * 1000)])
    flaky.files["b/s.tar"] = data
    listing = discover(["flaky://b/s.tar"], None)
    source, shard = WebDataset(listing.root), Shard.of_object(listing.objects[0])
    flaky.plan += [2000, 0, 0]
    with pytest.raises(OSError, match=f"2000 bytes came of {len(data)} announced"):
        list(source.samples(shard))
    flaky.plan += [700, "raise"]
    with pytest.raises(ConnectionResetError):
        list(source.samples(shard))
    flaky.files["b/s.tar"] = data + bytes(512)
    with pytest.raises(StaleObject):
        list(source.samples(shard))
    del flaky.files["b/s.tar"]
    with pytest.raises(FileNotFoundError):
        list(source.samples(shard))


def test_a_short_gzip_body_is_no_truncation(flaky):
    flaky.files["b/s.tgz"] = gzip.compress(tar_of([("0.jpg", os.urandom(9000))]))
    listing = discover(["flaky://b/s.tgz"], None)
    source, shard = WebDataset(listing.root), Shard.of_object(listing.objects[0])
    for plan in ([4000, 0, 0], [4000, "raise"], ["raise"]):
        flaky.plan[:] = plan
        with pytest.raises(OSError, match=r"announced|reset"):
            list(source.samples(shard))


def test_eight_megabytes_take_one_request(flaky):
    flaky.files["b/s.tar"] = tar_of([(f"{i:03}.{kind}", bytes(80_000)) for i in range(100) for kind in ("jpg", "npy")])
    flaky.files["b/s.tar"] = flaky.files["b/s.tar"][: 8 * 2**20]
    listing = discover(["flaky://b/s.tar"], None)
    source, shard = WebDataset(listing.root), Shard.of_object(listing.objects[0])
    list(source.samples(shard))
    assert len(flaky.requests) == 1


def test_memory_does_not_grow_with_the_shard(tmp_path):
    name = tmp_path / "s.tar"
    name.write_bytes(tar_of([(f"{i:05}.jpg", b"jpg") for i in range(8_000)]))
    stat = name.stat()
    shard = Shard.of_object(Member("s.tar", stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}"))
    source = WebDataset(str(tmp_path))
    held = {}
    tracemalloc.start()
    for index, _ in enumerate(source.samples(shard)):
        if index in (1000, 7_900):
            held[index] = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held[7_900] - held[1000] < 50_000


def member(name, size, kind=tarfile.REGTYPE, **more):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_members_too_large_to_be_read(tmp_path, suffix):
    good = tar_of({"b.jpg": b"image", "c.jpg": bytes(2000), "d.jpg": b"image", "d.json": b"{}"})
    data = good if suffix == ".tar" else gzip.compress(good)
    samples, _, _ = read(tmp_path, f"a{suffix}", data, max_image_bytes=1000)
    assert [(s.key, s.status) for s in samples] == [("b", "ok"), ("c", "too_large"), ("d", "ok")]
    assert "c.jpg has 2000 of at most 1000 bytes (input.max_image_bytes)" in samples[1].error


def test_a_sparse_member_of_a_tebibyte(tmp_path):
    # GNU's old sparse header: no byte stored, a tebibyte real.
    header = bytearray(member("a.jpg", 0, tarfile.GNUTYPE_SPARSE))
    header[386:410] = b"%011o\0%011o\0" % (0, 0)
    header[483:495] = b"\x80\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    samples, _, _ = read(tmp_path, "a.tar", bytes(header) + tar_of({"b.jpg": b"image"}))
    assert [(s.key, s.status) for s in samples] == [("a", "too_large"), ("b", "ok")]


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_headers_that_claim_gigabytes(tmp_path, kind, suffix):
    data = tar_of({"a.jpg": b"image"})[:1024] + member("x", 2**32, kind) + bytes(2**20)
    tracemalloc.start()
    (first, last), _, _ = read(tmp_path, f"a{suffix}", data if suffix == ".tar" else gzip.compress(data))
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert (first.status, last.status) == ("ok", "truncated")
    assert "a header of 4294967296 bytes" in last.error


def test_headers_upon_headers_and_sidecars_without_end(tmp_path):
    data = tar_of({"a.jpg": b"image"})[:1024] + (member("x", 0, tarfile.XHDTYPE)) * 5000
    assert [s.status for s in read(tmp_path, "a.tar", data)[0]] == ["ok", "truncated"]
    data = tar_of({"a.jpg": b"image", "a.json": b"[" * 100_000, "b.jpg": b"image", "b.txt": bytes(2**24 + 1)})
    (first, second), _, _ = read(tmp_path, "b.tar", data)
    assert (first.status, second.status) == ("ok", "too_large")
    assert "b.txt has 16777217 of at most 16777216 bytes" in second.error


JPEG = b"\xff\xd8\xff\xe0" + bytes(40)


@pytest.mark.parametrize("name", ["s.tar", "s.tar.gz"])
def test_images_without_an_ending_and_devices_are_rows_that_say_why_not(tmp_path, name):
    pipe = tarfile.TarInfo("pipe.jpg")
    pipe.type = tarfile.FIFOTYPE
    members = [("d/first", JPEG), ("LICENSE", b"no image, for sure"), ("b.", JPEG), ("c", b"\xff\xd8"), (pipe, b"")]
    data = tar_of([*members, ("z.jpg", b"z")], "w:gz" if name.endswith("gz") else "w")
    samples, source, shard = read(tmp_path, name, data)
    assert [(s.key, s.status) for s in samples] == [
        ("d/first", "missing"),
        ("b", "missing"),
        ("pipe", "missing"),
        ("z", "ok"),
    ]
    assert samples[0].error == (
        f"{name}: d/first has no ending, by which images are known; name it d/first.jpg or as what it is"
    )
    assert samples[2].error == f"{name}: pipe.jpg is a device or pipe, and no file"
    assert samples[3].image == b"z"
    assert list(source.samples(shard, samples[1].position)) == samples[1:] or name.endswith("gz")


def test_a_long_name_whose_header_is_broken_loses_no_image(tmp_path):
    data = bytearray(tar_of({"n" * 200 + ".jpg": JPEG, "z.jpg": b"z"}))
    data[512:516] = b"xxxx"  # of the pax header, without which the name is cut to 100 characters
    samples, _, _ = read(tmp_path, "s.tar", bytes(data))
    assert [(s.key, s.status) for s in samples][-1] == ("z", "ok")
    assert len(samples) == 2
    assert samples[0].status != "ok"
