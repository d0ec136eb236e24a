"""What a string that names an object is."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg_ray.addresses import absolute, below, joined, located, protocol_of, without_dots, without_query
from clipseg_ray.http_client import as_given
from clipseg_ray.storage import Store

ROOTS = ["/data/in", "/", "s3://bucket", "s3://bucket/in", "https://host/in", "memory://in"]
PATH = st.lists(st.sampled_from(["a", "/", "//", ".", "..", "http:", "s3://b", "?x=1", "%2F", "b.jpg", ":"])).map(
    "".join
)


@given(st.sampled_from(ROOTS), PATH.filter(bool))
def test_a_listed_path_says_which_it_is(root: str, path: str) -> None:
    url = f"{root.rstrip('/')}/{path}"
    kept = below(url, root)
    assert located(kept, root) == url


@pytest.mark.parametrize(
    ("url", "root", "path"),
    [
        ("s3://b/x/a.jpg", "s3://b/x", "a.jpg"),
        ("s3://b/x//a.jpg", "s3://b/x", ".//a.jpg"),
        ("s3://b/http://c/a.jpg", "s3://b", "./http://c/a.jpg"),
        ("s3://b/./a.jpg", "s3://b", "././a.jpg"),
        ("https://h/a.jpg", "s3://b", "https://h/a.jpg"),
        ("/data/http:/a.jpg", "/data", "http:/a.jpg"),
    ],
)
def test_what_reads_like_something_else_is_marked(url: str, root: str, path: str) -> None:
    assert below(url, root) == path
    assert located(path, root) == url


@pytest.mark.parametrize(
    ("url", "protocol"),
    [
        ("s3://b", "s3"),
        ("HTTP://h/x", "http"),
        ("/data/a://b", "file"),
        ("a/http://b", "file"),
        ("x.jpg", "file"),
        ("simplecache::s3://b/x", "simplecache::s3"),
        ("://x", "file"),
    ],
)
def test_protocols(url: str, protocol: str) -> None:
    assert protocol_of(url) == protocol


@pytest.mark.parametrize(
    ("folder", "path", "address"),
    [
        ("s3://b/x", "a//b.jpg", "s3://b/x/a//b.jpg"),
        ("s3://b/x/", "b.jpg", "s3://b/x//b.jpg"),
        ("s3://b/x", "../../../b.jpg", "s3://b/b.jpg"),
        ("https://h/in?sig=1", "a%2Fb.jpg?x=/../y", "https://h/in/a%2Fb.jpg?x=/../y"),
        ("https://h", "./a.jpg", "https://h/a.jpg"),
        ("/data/in", "../a//b.jpg", "/data/a/b.jpg"),
    ],
)
def test_joined(folder: str, path: str, address: str) -> None:
    assert joined(folder, path) == address


def test_a_scheme_is_told_in_any_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert absolute("S3://Bucket/Key//x") == "s3://Bucket/Key//x"
    assert absolute(f"FILE://{tmp_path}/x") == f"{tmp_path}/x"
    monkeypatch.chdir(tmp_path)
    assert absolute("~nosuchuser/x") == f"{tmp_path}/~nosuchuser/x"
    assert absolute(f"{'n' * 300}/../x") == f"{tmp_path}/x"


def test_a_folder_that_is_no_utf8_is_worked_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "caf\udce9").mkdir()
    monkeypatch.chdir(tmp_path / "caf\udce9")
    Store.of("out").put("x", b"1")
    assert Store.of("out").url == f"{tmp_path}/caf\\xe9/out"
    assert Store.of(f"{tmp_path}/caf\\xe9").get("out/x") == b"1"
    assert [entry.path for entry in Store.of(str(tmp_path)).list()] == ["caf\\xe9/out/x"]
    assert Store.of(str(tmp_path)).folders("") == ["caf\\xe9"]


def test_formats_go_by_the_path_of_a_url() -> None:
    assert without_query("https://h/t.tar.gz?download=true#x") == "https://h/t.tar.gz"
    assert without_query("/data/x.jpg?w=1") == "/data/x.jpg?w=1"
    assert without_query("s3://b/x#1.tar") == "s3://b/x#1.tar"


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        (
            "http://h/a%2Fb%2fc.jpg?X-Amz-Credential=A%2F1&s=%7E'()*",
            "http://h/a%2Fb%2fc.jpg?X-Amz-Credential=A%2F1&s=%7E'()*",
        ),
        ("http://h/a b é.jpg?q=é|", "http://h/a%20b%20%C3%A9.jpg?q=%C3%A9%7C"),
        ("http://h/100%.jpg", "http://h/100%25.jpg"),
        ("http://h/caf\udce9.jpg", "http://h/caf%E9.jpg"),
        ("http://h//a/../b/./c", "http://h//b/c"),
        ("http://h/../../b", "http://h/b"),
        ("http://[::1]:8000/x[1].jpg", "http://[::1]:8000/x[1].jpg"),
        ("http://Bücher.de", "http://xn--bcher-kva.de"),
    ],
)
def test_a_url_is_sent_as_it_is_given(url: str, sent: str) -> None:
    assert str(as_given(url)).removesuffix("/") == sent


@pytest.mark.parametrize(
    "url",
    [
        "http://h:99999/x",
        "http://h:x/",
        "http://[::1/x",
        "http://h/\ud83d",
        "http://a b/x",
        "http://%zz",
        "http://h\0/x",
    ],
)
def test_a_url_that_cannot_be_is_a_value_error(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        as_given(url)


@given(PATH)
def test_no_dots_are_left(path: str) -> None:
    assert not {".", ".."} & set(without_dots(path).split("/"))
