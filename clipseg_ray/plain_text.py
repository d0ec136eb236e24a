"""Bytes that people send as text: UTF-8, or UTF-16 and UTF-32 where they show it; never a guess at anything else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LOOKED_AT = 256
"""Bytes by which UTF-16 and UTF-32 without a byte order mark are told: some of every character's are zero."""


@dataclass(frozen=True)
class Unread:
    """What stands for a value that is there and cannot be read; ``why`` is for a person, with what to do."""

    why: str

    def __str__(self) -> str:
        return self.why


def text_of(data: bytes) -> str:
    """The text, without its byte order mark. Raises ValueError that says where it is none, and what to do."""
    encoding = json.detect_encoding(data)  # by the byte order mark, else by where the first characters have zeros
    marked = encoding in ("utf-8-sig", "utf-16", "utf-32")
    begun = data[:_LOOKED_AT]
    if not marked and (len(data) < 4 or 3 * begun.count(0) < len(begun)):
        encoding = "utf-8"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding.startswith("utf-8"):
            line = data.count(b"\n", 0, error.start) + 1
            what = f"byte 0x{data[error.start]:02x} in line {line} is no UTF-8"
        else:
            what = f"it is no {encoding.upper()}, as which it begins ({error.reason})"
        raise ValueError(f"{what}; save it as UTF-8") from error


def value_of(fields: Mapping[str, Any], name: str) -> Any:
    """What a sample's fields have under a name; the Unread that may have hidden it; None where there is nothing."""
    whole = fields.get("json")
    return fields.get(name, whole if isinstance(whole, Unread) else None)


def is_missing(value: Any) -> bool:
    """Whether nothing stands there: null, the NaN as which pandas writes that, or a text of blanks alone."""
    return (
        value is None or (isinstance(value, float) and value != value) or (isinstance(value, str) and not value.strip())
    )
