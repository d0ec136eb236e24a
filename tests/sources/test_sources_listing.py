import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest

from clipseg_ray.errors import UserError
from clipseg_ray.sources.base import Member, Shard
from clipseg_ray.sources.chunking import Chunking
from clipseg_ray.sources.formats import SOURCES, source_of
from clipseg_ray.sources.listing import Listing, append_shards, discover, from_parquet, to_parquet
from tests.tars import tar_of


@pytest.fixture
def tree(flaky):
    for name in ("b/x/0.tar", "b/x/1.tar", "b/x/deep/2.tar", "b/y/3.tar", "b/y/_tmp.tar", "b/.cache/4.tar"):
        flaky.files[name] = name.encode()
    return flaky


def paths(*urls, format=None, root=None):
    listing = discover(list(urls), format, root)
    return listing.root.removeprefix("flaky://"), [member.path for member in listing.objects]


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        (["b/x/0.tar"], ("b/x", ["0.tar"])),
        (["b/x"], ("b/x", ["0.tar", "1.tar", "deep/2.tar"])),
        (["b/x/"], ("b/x", ["0.tar", "1.tar", "deep/2.tar"])),
        (["b"], ("b", ["x/0.tar", "x/1.tar", "x/deep/2.tar", "y/3.tar"])),
        (["b/x/*.tar"], ("b/x", ["0.tar", "1.tar"])),
        (["b/**/[02].tar"], ("b", ["x/0.tar", "x/deep/2.tar"])),
        (["b/*/?.tar"], ("b", ["x/0.tar", "x/1.tar", "y/3.tar"])),
        (["b/{x,y}/*.tar"], ("b", ["x/0.tar", "x/1.tar", "y/3.tar"])),
        (["b/x/{0..1}.tar"], ("b/x", ["0.tar", "1.tar"])),
        (["b/y/_tmp.tar"], ("b/y", ["_tmp.tar"])),
        (["b/y/{3,_tmp}.tar"], ("b/y", ["3.tar", "_tmp.tar"])),
        (["b/y", "b/x/0.tar", "b/x/*.tar"], ("b", ["x/0.tar", "x/1.tar", "y/3.tar"])),
    ],
)
def test_what_a_url_names(tree, urls, expected):
    assert paths(*(f"flaky://{url}" for url in urls)) == expected


def test_a_recorded_root_keeps_names(tree):
    assert paths("flaky://b/x/deep", root="flaky://b") == ("b", ["x/deep/2.tar"])
    assert paths("flaky://b/y/3.tar", root="flaky://b/x/") == ("b/x", ["flaky://b/y/3.tar"])
    tree.files["c/9.tar"] = b"9"
    root, found = paths("flaky://b/x/0.tar", "flaky://c/9.tar")
    assert (root, found) == ("b/x", ["0.tar", "flaky://c/9.tar"])


def test_local_and_memory(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "odd[1].jpg").write_bytes(b"1")
    (tmp_path / "a" / "2.jpg").write_bytes(b"22")
    monkeypatch.chdir(tmp_path)
    listing = discover(["a"], None)
    assert (listing.root, listing.format) == (str(tmp_path / "a"), "images")
    assert [(m.path, m.size) for m in listing.objects] == [("2.jpg", 2), ("odd[1].jpg", 1)]
    assert discover(["a"], None) == listing
    assert [m.path for m in discover(["a/odd[1].jpg"], None).objects] == ["odd[1].jpg"]
    memory = fsspec.filesystem("memory")
    memory.pipe("/listing-test/in/0.tar", b"0")
    assert [m.path for m in discover(["memory://listing-test/*/0.tar"], None).objects] == ["in/0.tar"]
    memory.rm("/listing-test", recursive=True)


def test_one_listing_serves_all_brace_names(tree, monkeypatch):
    tree.files |= {f"big/{i:03}.tar": b"x" for i in range(300)}
    calls = []
    real = tree.find
    monkeypatch.setattr(tree, "find", lambda self, path, **kw: calls.append(path) or real(self, path, **kw))
    monkeypatch.setattr(tree, "info", lambda self, path, **kw: pytest.fail("asked for one object"), raising=True)
    monkeypatch.setattr(
        tree,
        "ls",
        lambda self, path, detail=True, **kw: [
            {"name": n, "size": 1, "type": "file"} for n in tree.files if "big" in n
        ],
    )
    assert len(discover(["flaky://big/{000..299}.tar"], None).objects) == 300
    assert calls == ["big"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("b/x/00.tar", "flaky://b/x/00.tar: nothing is there by that name (the nearest name is flaky://b/x/0.tar)"),
        ("b/xx", "flaky://b/xx: nothing is there by that name (the nearest name is flaky://b/x)"),
        ("nowhere/x", "flaky://nowhere/x: nothing is there by that name; check input.url"),
        ("b/x/7*.tar", "flaky://b/x/7*.tar: nothing is there by that name"),
        ("b/x/{0..3}.tar", "2 of the 4 names it spells out are not there: 2.tar, 3.tar"),
        ("b/x/{0..3.tar", "its braces do not pair up"),
        ("b/x/a**.tar", "** must stand alone between slashes"),
        ("*/x.tar", "the bucket must be spelt out"),
    ],
)
def test_urls_that_match_nothing(tree, url, message):
    with pytest.raises(UserError) as caught:
        discover([f"flaky://{url}"], None)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"flaky://{url}: ")


def test_formats(flaky):
    flaky.files |= {"t/a.TGZ": b"", "p/a.parquet": b"", "i/a.JPEG": b"", "i/README.md": b"", "m/a.csv": b""}
    for folder, format in (("t", "webdataset"), ("p", "parquet"), ("i", "images"), ("m", "manifest")):
        listing = discover([f"flaky://{folder}"], None)
        assert (listing.format, len(listing.objects)) == (format, 1)
    assert discover(["flaky://p/a.parquet"], "manifest").format == "manifest"
    flaky.files |= {"t/a.json": b"", "t/b.parquet": b""}
    with pytest.raises(
        UserError, match=r"of a single format; found 1 × .json, 1 × .parquet, 1 × .tgz; set input.format"
    ):
        discover(["flaky://t"], None)
    assert [m.path for m in discover(["flaky://t"], "webdataset").objects] == ["a.TGZ"]
    with pytest.raises(UserError, match=r"no name there ends in .jpg, .*input.format: images has it; found 1 × "):
        discover(["flaky://t"], "images")
    flaky.files |= {"o/a.xyz": b"", "o/b": b""}
    with pytest.raises(UserError, match=r"ending of a format; found 1 × .xyz, 1 × names without ending"):
        discover(["flaky://o"], None)
    with pytest.raises(UserError, match=r"there is no 'tfrecord'; choose one of webdataset, parquet, images, manifest"):
        source_of("tfrecord", "flaky://o")


@pytest.mark.parametrize("kind", SOURCES.values())
def test_a_format_is_known_by_what_its_source_says_of_itself(flaky, kind):
    assert SOURCES[kind.name] is kind
    for ending in kind.endings:
        flaky.files.clear()
        flaky.files[f"b/a{ending.upper()}"] = b""
        assert discover(["flaky://b"], None).format == kind.name
    flaky.files[f"b/b{kind.endings[0]}"] = b""
    if kind.one_object:
        with pytest.raises(UserError, match=f"not of a single format; .*{', '.join(SOURCES)}"):
            discover(["flaky://b"], None)
    else:
        assert len(discover(["flaky://b"], None).objects) == 2
    for ending in kind.further_endings:
        flaky.files[f"b/c{ending}"] = b""
        assert f"c{ending}" in [member.path for member in discover(["flaky://b"], kind.name).objects]


def test_storage_errors_are_one_line(flaky, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(flaky, "info", refuse)
    with pytest.raises(UserError, match=r"^flaky://b/a.tar: access denied \(Access Denied\)"):
        discover(["flaky://b/a.tar"], None)


def listing_of(*names, format="images", size=5):
    return Listing("flaky://b", format, tuple(Member(name, size, f"e-{name}") for name in names))


def test_shards_are_appended_and_never_cut_again():
    source = source_of("images", "flaky://b")
    first = append_shards([], listing_of("b", "d", "f"), source, slice_images=2)
    assert [[m.path for m in shard.members] for shard in first] == [["b", "d"], ["f"]]
    assert append_shards(first, listing_of("b", "d", "f"), source, slice_images=2) == []
    more = append_shards(first, listing_of("a", "b", "c", "d", "e"), source, slice_images=2)
    assert [[m.path for m in shard.members] for shard in more] == [["a", "c"], ["e"]]
    source = source_of("webdataset", "flaky://b")
    first = append_shards([], listing_of("b", "d"), source, slice_images=2)
    assert first == [Shard.of_object(m).cut(Chunking()) for m in listing_of("b", "d").objects]
    assert [s.path for s in append_shards(first, listing_of("a", "b"), source, slice_images=2)] == ["a"]


@pytest.mark.parametrize("format", ["images", "webdataset"])
def test_changed_objects_are_refused(format):
    source = source_of(format, "flaky://b")
    names = [f"{i}" for i in range(8)]
    frozen = append_shards([], listing_of(*names), source, slice_images=3)
    with pytest.raises(UserError) as caught:
        append_shards(frozen, listing_of(*names, "new", size=6), source, slice_images=3)
    message = str(caught.value)
    assert "8 objects: 0: was 5 bytes, etag e-0, now 6 bytes, etag e-0; 1: was" in message
    assert message.count("was 5 bytes") == 5
    assert "\n" not in message


def test_limit_and_sample_of_images():
    source = source_of("images", "flaky://b")
    listing = listing_of(*(f"{i:03}" for i in range(100)))
    limited = append_shards([], listing, source, slice_images=4, limit=10)
    assert [[m.path for m in s.members] for s in limited] == [
        ["000", "001", "002", "003"],
        ["004", "005", "006", "007"],
        ["008", "009"],
    ]
    drawn = append_shards([], listing, source, slice_images=50, sample=30, seed=3)
    names = [m.path for s in drawn for m in s.members]
    assert len(set(names)) == 30
    assert names == sorted(names) != [f"{i:03}" for i in range(30)]
    assert drawn == append_shards([], listing, source, slice_images=50, sample=30, seed=3)
    assert drawn != append_shards([], listing, source, slice_images=50, sample=30, seed=4)
    assert append_shards(limited, listing, source, slice_images=4, limit=20) == []
    with pytest.raises(UserError, match="give one of them"):
        append_shards([], listing, source, slice_images=4, limit=1, sample=1)


def test_limit_and_sample_of_shards(flaky):
    counts = [3, 8, 2, 9, 1]
    for index, count in enumerate(counts):
        flaky.files[f"b/{index}.tar"] = tar_of([(f"{i}.jpg", b"x") for i in range(count)])
    listing = discover(["flaky://b"], None)
    source = source_of(listing.format, listing.root)
    for limit, expected in ((2, [2]), (3, [None]), (5, [None, 2]), (13, [None] * 3), (99, [None] * 5)):
        assert [s.take for s in append_shards([], listing, source, slice_images=9, limit=limit)] == expected
    for sample in (1, 4, 12, 20, 23, 50):
        for seed in range(4):
            shards = append_shards([], listing, source, slice_images=9, sample=sample, seed=seed)
            assert sum(s.take for s in shards) == min(sample, sum(counts))
            assert [s.path for s in shards] == sorted(s.path for s in shards)
            assert all(s.take <= counts[int(s.path[0])] for s in shards)


def test_parquet_round_trip():
    members = (Member("a", 1, "x", '{"k": "ü"}'), Member("b", 2, "y"))
    shards = [
        Shard.of_slice(members),
        Shard.of_object(Member("c.tar", 2**40, "z")),
        Shard.of_object(Member("d.tar"), 7),
    ]
    assert from_parquet(to_parquet(shards), "listing") == shards
    assert to_parquet(shards) == to_parquet(list(shards))
    assert from_parquet(to_parquet([]), "listing") == []


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_braces_and_folders_over_http(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.tar").write_bytes(b"x" * (i + 1))
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    server = f"http://127.0.0.1:{httpd.server_port}"
    try:
        for url, names in (("{0,2}.tar", ["0.tar", "2.tar"]), ("", ["0.tar", "1.tar", "2.tar"]), ("1.tar", ["1.tar"])):
            listing = discover([f"{server}/{url}"], None)
            assert listing.root == server
            assert [(m.path, m.size) for m in listing.objects] == [(name, int(name[0]) + 1) for name in names]
        with pytest.raises(UserError, match=r"2 of the 5 names it spells out are not there: http.*/3.tar"):
            discover([f"{server}/{{0..4}}.tar"], None)
    finally:
        httpd.shutdown()
        httpd.server_close()
