"""Listing pages parsed by hand are what botocore's own parser makes of them."""

from types import SimpleNamespace

import pytest
from botocore import parsers
from botocore.session import get_session

from clipseg_ray import s3_pages, storage

NAMES = ["a/plain.parquet", "a/b &amp; c.jpg", "a/&lt;x&gt;&#13;.jpg", "a/%C3%BC+%20.jpg", "a/ü.jpg", "a/"]


def page(objects: list[str]) -> bytes:
    contents = "".join(
        f"<Contents><Key>{name}</Key><LastModified>2026-11-24T20:00:0{i}.000Z</LastModified>"
        f"<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e-{i}&quot;</ETag><Size>{i * 10**9}</Size>"
        f"<Owner><ID>75aa</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>"
        for i, name in enumerate(objects)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>b</Name><Prefix>a/</Prefix><KeyCount>{len(objects)}</KeyCount><IsTruncated>true</IsTruncated>{contents}"
        "<NextContinuationToken>t&amp;x</NextContinuationToken></ListBucketResult>"
    ).encode()


def parsed(body: bytes, status: int = 200, *, by_hand: bool) -> dict:
    response, extra = {"status_code": status, "headers": {}, "body": body}, {}
    if by_hand:
        s3_pages.parse(response_dict=response, customized_response_dict=extra, operation_model=None)
    shape = get_session().get_service_model("s3").operation_model("ListObjectsV2").output_shape
    return parsers.create_parser("rest-xml").parse(response, shape) | extra


def test_a_page_is_what_botocore_makes_of_it() -> None:
    for objects in (NAMES, [], NAMES[:1]):
        own, theirs = (parsed(page(objects), by_hand=by_hand) for by_hand in (True, False))
        for each in theirs.get("Contents", ()):
            each.pop("Owner")
        assert own == theirs


def test_s3fs_hands_over_its_session_or_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    new, other = SimpleNamespace(session=None, kwargs={}), SimpleNamespace()
    for fs in (new, other):
        monkeypatch.setattr(storage.fsspec, "filesystem", lambda *_, fs=fs, **__: fs)
        assert storage._filesystem("s3") is fs
    assert s3_pages.parse in new.session.get_component("event_emitter")._emitter._handlers.prefix_search(
        "before-parse.s3.ListObjectsV2"
    )
    assert vars(other).keys() == {"split_path"}


def test_another_event_than_botocores_is_left_alone() -> None:
    for event in ({}, {"response_dict": {"status_code": 200}, "customized_response_dict": {}}, {"response": b""}):
        s3_pages.parse(**event)
        assert event.get("customized_response_dict", {}) == {}


def test_what_is_no_such_page_is_left_to_botocore() -> None:
    strange = page(NAMES[:2]).replace(b"<Size>0</Size>", b"")
    for body, status in ((strange, 200), (b"<Error><Code>SlowDown</Code></Error>", 503), (page(NAMES), 500)):
        assert parsed(body, status, by_hand=True) == parsed(body, status, by_hand=False)
