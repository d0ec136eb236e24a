"""The one redaction: secrets in URLs, wherever a text with URLs is stored or printed."""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "***"

_URL = re.compile(r"""\b([a-z][a-z0-9+.-]*)://([^\s/?#'"<>|\\^`]*)@""", re.IGNORECASE)
_QUERY = re.compile(r"""[?#][^\s'"<>|\\^`]*=[^\s'"<>|\\^`]*""")
_PAIR = re.compile(r"([?#&;]|^)([^=?#&;]+)=[^?#&;]*?(?=[:,.)\]]*(?:[?#&;]|$))")

_SECRET = re.compile(
    r"(x-(amz|goog|ms|oss|cos|obs)-.*|.*(signature|token|secret|password|passwd|credential|apikey|accesskeyid).*"
    r"|sig|key|.*[-_]key|googleaccessid|policy|key-pair-id|auth|authorization|jwt|pwd)"
)
_BESIDE_ONE = {
    "expires", "se", "st", "sp", "sv", "sr", "spr", "sip", "ss", "srt", "skoid", "sktid", "skt", "ske", "sks", "skv",
}  # fmt: skip
"""Of a signature: no secrets, but other ones with each signing."""

_CONTAINER_AT_ACCOUNT = ("abfs", "abfss", "wasb", "wasbs")


def redacted(text: str) -> str:
    """``text`` with what URLs in it hold of secrets replaced by ``***``.

    That is user names and passwords before the host, and the values of signatures, tokens and keys in query strings.
    Whatever belongs to a signature goes with it, so that a URL that was signed anew reads as before.
    """
    if "://" in text and "@" in text:
        text = _URL.sub(_without_user, text)
    if "=" in text and ("?" in text or "#" in text):
        text = _QUERY.sub(lambda found: _without_values(found[0]), text)
    return text


def _without_user(found: re.Match[str]) -> str:
    if found[1].lower() in _CONTAINER_AT_ACCOUNT and ":" not in found[2]:
        return found[0]
    return f"{found[1]}://{HIDDEN}@"


def _without_values(query: str) -> str:
    names = [_plain(pair[2]) for pair in _PAIR.finditer(query)]
    if not any(map(_SECRET.fullmatch, names)):
        return query

    def hide(pair: re.Match[str]) -> str:
        name = _plain(pair[2])
        hidden = _SECRET.fullmatch(name) or name in _BESIDE_ONE
        return f"{pair[1]}{pair[2]}={HIDDEN}" if hidden else pair[0]

    return _PAIR.sub(hide, query)


def _plain(name: str) -> str:
    return unquote(unquote(name)).strip().lower().removeprefix("amp;")
