"""Secrets in URLs are hidden wherever a text is stored or printed."""

from __future__ import annotations

import pickle

import pytest

from clipseg_ray.errors import UserError, brief, last_line
from clipseg_ray.redaction import redacted


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h/a.jpg?sv=2&se=3&sig=SECRET", "https://h/a.jpg?sv=***&se=***&sig=***"),
        ("https://h/a?X-Goog-Signature=SECRET&size=2", "https://h/a?X-Goog-Signature=***&size=2"),
        (
            "https://h/a?Signature=SECRET&AWSAccessKeyId=SECRET&Expires=7",
            "https://h/a?Signature=***&AWSAccessKeyId=***&Expires=***",
        ),
        (
            "https://h/a?X-Amz-Credential=SECRET&X-Amz-Security-Token=SECRET&x-amz-signature=SECRET",
            "https://h/a?X-Amz-Credential=***&X-Amz-Security-Token=***&x-amz-signature=***",
        ),
        ("https://h/a?access_token=SECRET", "https://h/a?access_token=***"),
        ("https://h/a?Token=SECRET#b", "https://h/a?Token=***#b"),
        ("https://h/a?api_key=SECRET&page=1", "https://h/a?api_key=***&page=1"),
        ("https://h/a?%73ig=SECRET", "https://h/a?%73ig=***"),
        ("https://h/a?v=1;key=SECRET", "https://h/a?v=1;key=***"),
        ("https://h/a#access_token=SECRET", "https://h/a#access_token=***"),
        ("https://user:SECRET@h/a", "https://***@h/a"),
        ("s3://KEY:SECRET@bucket/a", "s3://***@bucket/a"),
        ("a.jpg?sig=SECRET", "a.jpg?sig=***"),
        ("403, url='https://h/a?sig=SECRET' (x)", "403, url='https://h/a?sig=***' (x)"),
        ('{"a": "https://h/a?sig=SECRET", "b": "c"}', '{"a": "https://h/a?sig=***", "b": "c"}'),
        ("abfs://container@account.dfs.core.windows.net/a", "abfs://container@account.dfs.core.windows.net/a"),
        ("https://h/a?v=3&expires=7", "https://h/a?v=3&expires=7"),
        ("mail me@here, or ask: what? key = 3", "mail me@here, or ask: what? key = 3"),
        ("/data/photos/a@b.jpg", "/data/photos/a@b.jpg"),
    ],
)
def test_redacted(url: str, expected: str) -> None:
    assert redacted(url) == expected
    assert redacted(expected) == expected


def test_errors_hide_them() -> None:
    error = UserError("https://h/a?sig=SECRET: not found")
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == "https://h/a?sig=***: not found"
    assert (
        brief(OSError("https://h/a?sig=SECRET"))
        == last_line(OSError("https://h/a?sig=SECRET"))
        == "https://h/a?sig=***"
    )
