"""The gate for text from outside: names of files and members, ids, captions, cells and URLs, as text that all can hold.

Python reads a name's byte that is no UTF-8 as half a surrogate pair, and JSON may write such halves; neither Arrow nor
Parquet, hashes or files take them, and a NUL ends the string of a C program. Inside they are written as codes, which
``native`` undoes where a name goes back to a file system: ``\\xe9`` for the byte 0xE9, ``\\ud83d`` for half a pair,
``\\x00`` for NUL. A backslash that already stands before such a code is written ``\\x5c``; all other text is as it was.
"""

from __future__ import annotations

import re
from typing import Any

DEEPEST = 64
"""Lists and objects inside each other that are kept of a value."""
TOO_DEEP = f"(more than {DEEPEST} lists or objects inside each other)"

_CODE = r"x00|x5c|x[89a-f][0-9a-f]|ud[89a-f][0-9a-f]{2}"
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_ENTERING = re.compile(rf"[\x00\ud800-\udfff]|\\(?={_CODE})")
_LEAVING = re.compile(rf"\\({_CODE})")


def entered(text: str) -> str:
    """``text`` as it is kept inside: valid Unicode without NUL, from which ``native`` makes the same text again."""
    if text.isascii() and "\\" not in text and "\0" not in text:
        return text
    return _ENTERING.sub(_code, text)


def entered_bytes(text: bytes) -> str:
    """The same for text that should be UTF-8."""
    return entered(text.decode("utf-8", "surrogateescape"))


def typed(text: str) -> str:
    """What a person typed as it is kept inside: a code in it stands for what ``entered`` writes so, as messages do."""
    return text if text.isascii() and "\0" not in text else _UNFIT.sub(_code, text)


def native(text: str) -> str:
    """The inverse of ``entered``: bytes that are no UTF-8 as Python's file functions take them."""
    return _LEAVING.sub(_uncode, text) if "\\" in text else text


def entered_value(value: Any, depth: int = DEEPEST) -> Any:
    """A value as JSON and Arrow give it, its strings and keys entered; ``TOO_DEEP`` for what is below ``depth``.

    Whoever writes or prints a value does so by recursion, which a thousand brackets end.
    """
    if isinstance(value, str):
        return entered(value)
    if not isinstance(value, dict | list | tuple):
        return value
    if depth == 0:
        return TOO_DEEP
    if isinstance(value, dict):
        return {entered_value(key): entered_value(each, depth - 1) for key, each in value.items()}
    return [entered_value(each, depth - 1) for each in value]


def _code(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code in (0, 0x5C) or 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code & 0xFF:02x}"
    return f"\\u{code:04x}"


def _uncode(found: re.Match[str]) -> str:
    code = int(found[1][1:], 16)
    return chr(0xDC00 + code if found[1][0] == "x" and code >= 0x80 else code)
