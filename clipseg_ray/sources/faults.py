"""What the fault of one named image means: a verdict on it, another try in this run, or one by the next run."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from clipseg_ray.addresses import protocol_of
from clipseg_ray.errors import Refused, TooLarge, UserError, brief
from clipseg_ray.sources.base import Sample
from clipseg_ray.storage import StaleObject
from clipseg_ray.storage_faults import ACCOUNT, causes, http_answer, no_such_host, s3_code

UNREACHABLE = "unreachable"
"""Status of an image that could not be had by a run that was told to give up on such."""


class Unreached(UserError):
    """Images of a chunk of ``total`` that could not be had this time.

    ``hosts_gone``: the network is there: others could be had, or a server answered for one of these.
    """

    def __init__(self, samples: Sequence[Sample], total: int) -> None:
        self.hosts_gone = len(samples) < total or any(sample.answered for sample in samples)
        super().__init__(
            f"{len(samples)} of {total} image(s) cannot be had now, the first: {samples[0].error}; run again later, or "
            f"with --give-up to go on without them (status {UNREACHABLE})"
        )


_OF_THE_NAME = {
    errno.ELOOP: "its links lead in a circle",
    errno.ENAMETOOLONG: "its name is too long",
    errno.ENXIO: "not a file",
    errno.ENODEV: "not a file",
    errno.EILSEQ: "no file can have its name",
}
_NAMELESS = ValueError | TypeError | NotImplementedError | UserError
"""A certificate that is not trusted is a ValueError too."""
_NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)
_TRY_AGAIN = (408, 425, 429)
_PROXY = 407
WEB = ("http", "https")
"""Of these every host is somebody else's."""
_BAD_URLS = {
    "InvalidURL": "not a valid URL",
    "InvalidUrlClientError": "not a valid URL",
    "NonHttpUrlClientError": "not a valid URL",
    "InvalidUrlRedirectClientError": "the server redirects to what is no HTTP URL",
    "NonHttpUrlRedirectClientError": "the server redirects to what is no HTTP URL",
    "TooManyRedirects": "the server redirects without end",
    "ParamValidationError": "not a valid S3 URL",
}
"""By the names of aiohttp's and botocore's errors, neither of which need be loaded."""


@dataclass(frozen=True)
class Fault:
    """``status``: the image's for good, None where a later run may have it; ``words``: why, for a person.

    ``passing``: whether it may be had in this run yet. ``answered``: whether a server said so; a refusal is an answer.
    """

    status: Literal["missing", "too_large"] | None
    words: str
    passing: bool = False
    answered: bool = False


def fault_of(error: Exception, url: str, beside: bool = False) -> Fault:
    """What the fault of the image at ``url`` means.

    ``beside``: whether other images came when it was asked for. With that, one that is denied or has no usable name is
    at fault itself; without, all of its place may be, for want of a right or a setting, and nothing is known of it.
    """
    if isinstance(error, TooLarge):
        return Fault("too_large", str(error))
    if words := _verdict(error, url, beside):
        return Fault("missing", words)
    words = f"{type(error).__name__}: {brief(error)}"
    return Fault(None, words, passing=not _stays(error), answered=_is_web(error, url) and not _is_silence(error))


def may_pass(error: BaseException) -> bool:
    """Whether the fault of a whole shard may pass while this run goes on: not if it is gone, changed or refused."""
    return not isinstance(error, FileNotFoundError) and not _stays(error)


def _verdict(error: Exception, url: str, beside: bool) -> str | None:
    """Why an image will never come; None where it may."""
    if isinstance(error, FileNotFoundError):
        return "not found"
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, IsADirectoryError | NotADirectoryError):
        return "not a file"
    if isinstance(error, OSError) and error.errno in _OF_THE_NAME:
        return _OF_THE_NAME[error.errno]
    if isinstance(error, PermissionError):
        return f"access denied ({brief(error)})" if beside and s3_code(error) not in ACCOUNT else None
    if words := _BAD_URLS.get(type(error).__name__):
        return words
    if isinstance(error, OSError):
        return "no host has that name" if _is_web(error, url) and no_such_host(error) else None
    if (words := http_answer(error)) and _is_web(error, url):
        code = int(getattr(error, "status", 0))
        return words if code < 500 and code not in (*_TRY_AGAIN, _PROXY) else None
    # What no request was made of: a port, a host or a scheme that cannot be, a null byte. Not so where the file system
    # is another's, which may say so of its own settings.
    ours = isinstance(error, UserError) or protocol_of(url) in ("file", "s3", *WEB)
    if isinstance(error, _NAMELESS) and not _lacks_a_package(error) and (ours or beside):
        return f"no image can be there: {brief(error).removeprefix(f'{url}: ')}"
    return None


def _is_web(error: Exception, url: str) -> bool:
    """Whether what was asked is the image's own host: not a proxy, nor the endpoint of a bucket."""
    return protocol_of(url) in WEB and type(error).__name__ != "ClientProxyConnectionError"


def _stays(error: BaseException) -> bool:
    """Whether asking again within seconds gives the same."""
    if isinstance(error, PermissionError | StaleObject | _NAMELESS) or s3_code(error) in ACCOUNT:
        return True
    return _lacks_a_package(error) or getattr(error, "status", None) == _PROXY


def _is_silence(error: BaseException) -> bool:
    """Whether nobody answered: where that is all there is, it may be this machine's network."""
    return any(
        isinstance(cause, TimeoutError | socket.gaierror) or getattr(cause, "errno", None) in _NO_WAY
        for cause in causes(error)
    )


def _lacks_a_package(error: BaseException) -> bool:
    return any(isinstance(cause, ImportError) for cause in causes(error))
