"""What data may name: which URLs are below a place that the user named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clipseg_ray.boundary import Boundary, is_local
from clipseg_ray.http_client import is_public


@pytest.mark.parametrize(
    ("prefix", "url", "allowed"),
    [
        ("s3://bucket/data", "s3://bucket/data/a.tar", True),
        ("s3://bucket/data/", "s3://bucket/data/a.tar", True),
        ("s3://bucket", "s3://bucket/any/a.tar", True),
        ("s3://bucket", "s3://bucket-evil/a.tar", False),
        ("s3://bucket", "s3://BUCKET/a.tar", False),
        ("s3://bucket/data", "s3://bucket/data2/a.tar", False),
        ("s3://bucket/data", "s3://bucket/data/../secret", False),
        ("s3://bucket/data", "s3://bucket/data/%2e%2e/secret", False),
        ("s3://bucket/data", "s3://bucket/data/%252e%252e/secret", False),
        ("s3://bucket/data", "gs://bucket/data/a.tar", False),
        ("http://host/data", "http://host/data/a.jpg?size=2", True),
        ("http://host/data", "http://HOST:80/data/a.jpg", True),
        ("http://host/data", "http://host/data", True),
        ("http://host/data", "http://host:81/data/a.jpg", False),
        ("http://host/data", "https://host/data/a.jpg", False),
        ("http://host/data", "http://host@evil/data/a.jpg", False),
        ("http://host/data", "http://evil/data/a.jpg@host/data", False),
        ("http://host/data", "http://host.evil/data/a.jpg", False),
        ("http://host/data", "http://evil?@host/data/a.jpg", False),
        ("http://host/data", "http://evil#@host/data/a.jpg", False),
        ("http://host/data", "http://host/x?/data/a.jpg", False),
        ("http://host/data", "http://host/data/..%2fsecret", False),
        ("http://host/data", "http://host/data/..\\secret", False),
        ("http://host/data", "http://ho\tst/data/a.jpg", False),
        ("http://host/data", "http:///host/data/a.jpg", False),
        ("s3://bucket", "file:///etc/passwd", False),
        ("s3://bucket", "/etc/passwd", False),
        ("s3://bucket", "etc/passwd", False),
        ("s3://bucket", "simplecache::s3://bucket/a", False),
        ("s3://bucket", "local:///etc/passwd", False),
    ],
)
def test_tricks_with_urls(prefix: str, url: str, allowed: bool) -> None:
    assert Boundary((prefix,)).allows(url) is allowed


def test_tricks_with_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("data", "data2", "data/deep", "data/..hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "data/link").symlink_to(tmp_path / "secret")
    (tmp_path / "data/up").symlink_to(tmp_path)
    (tmp_path / "other name").symlink_to(tmp_path / "data")
    data = Boundary((str(tmp_path / "data"),))
    within = ["data/a.jpg", "data/deep/../a.jpg", "other name/a.jpg", "data/..hidden/a.jpg", "data2/../data/a.jpg"]
    without = ["data2/a.jpg", "data/../secret", "secret", "data/link", "data/up/secret", "data/deep/../../secret"]
    for path in within:
        assert data.allows(f"{tmp_path}/{path}"), path
        assert data.allows(f"file://{tmp_path}/{path}"), path
    for path in without:
        assert not data.allows(f"{tmp_path}/{path}"), path
        assert not data.allows(f"file://{tmp_path}/{path}"), path
        assert not data.allows(f"local://{tmp_path}/{path}"), path
    monkeypatch.chdir(tmp_path)
    assert data.allows("data/a.jpg")
    assert not data.allows("secret")
    assert not data.allows("a\x00b")
    assert Boundary((str(tmp_path / "other name"),)).allows(str(tmp_path / "data/a.jpg"))  # what was typed is followed


def test_a_dataset_has_its_bucket_or_the_folder_it_lies_in(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    local = Boundary.around(str(tmp_path / "masks"), ())
    assert local.allows(str(tmp_path / "photos/a.jpg"))
    assert not local.allows(str(tmp_path / ".ssh/id"))  # nobody lists it, so no run recorded it
    assert not local.allows(os.path.realpath("/etc/passwd"))
    assert not local.allows("s3://bucket/a.jpg")
    assert Boundary.around("s3://bucket/deep/masks", ()).allows("s3://bucket/photos/a.jpg")
    assert not Boundary.around("s3://bucket/deep/masks", ()).allows("/etc/passwd")
    web = Boundary.around("http://10.0.0.1:81/deep/masks", ())
    assert web.allows("http://10.0.0.1:81/deep/photos/a.jpg")
    assert not web.allows("http://10.0.0.1:81/photos/a.jpg")
    assert web.hosts == ("10.0.0.1:81",)
    assert not Boundary.around("/masks", ()).allows("/etc/passwd")  # not all of this machine
    typed = Boundary.around("s3://bucket/masks", [str(tmp_path / "photos")])
    assert typed.allows(str(tmp_path / "photos/a.jpg"))
    refusal = str(local.refusal("/etc/passwd"))
    assert "/etc/passwd" in refusal
    assert "--allow-source" in refusal


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("/a", True),
        ("a", True),
        ("file:///a", True),
        ("FILE:///a", True),
        ("local:///a", True),
        ("s3://b/a", False),
        ("simplecache::file:///a", True),
        ("filecache:///a", True),
        ("https://h/a", False),
        ("memory://a", False),
    ],
)
def test_what_leads_to_this_machine(url: str, local: bool) -> None:
    assert is_local(url) is local


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "169.254.169.254",
        "10.1.2.3",
        "192.168.0.1",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "fd00:ec2::254",
        "224.0.0.1",
    ],
)
def test_addresses_that_are_not_anyones(address: str) -> None:
    assert not is_public(address)


def test_public_addresses() -> None:
    assert is_public("8.8.8.8")
    assert is_public("2606:4700::1111")


@pytest.mark.parametrize("url", ["/data/a\0b.jpg", "s3://bucket/a\0.jpg", "http://user@host/a.jpg", "http://host/../a"])
def test_what_is_no_clear_address_is_not_said_to_lack_a_prefix(url: str) -> None:
    refusal = str(Boundary(("/data", "s3://bucket", "http://host")).refusal(url))
    assert "input.allow" not in refusal
    assert "read in one way alone" in refusal
