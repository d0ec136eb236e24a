"""What storage's faults say: the code of an S3 answer, and the line a person should read."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http.client import responses
from typing import Any

from clipseg_ray.errors import Refused, TooLarge, brief

_SKEW_S = 300
"""S3 refuses what is signed by a clock 15 minutes off; less than this is nobody's fault."""

_LOCAL = {
    errno.ENOSPC: "no space is left there; make room, or choose another disk",
    errno.EDQUOT: "the quota there is used up; make room, or choose another disk",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.ELOOP: "its links lead in a circle; mend or remove them",
    errno.ENAMETOOLONG: "the name is longer than storage takes; choose a shorter one",
    errno.ENOTDIR: "a file is where a folder should be; choose another place",
    errno.EISDIR: "a folder is where a file should be; choose another place",
    errno.EFBIG: "the file would be larger than is allowed (ulimit -f)",
    errno.EMFILE: "too many files are open (ulimit -n); allow more",
    errno.ENFILE: "too many files are open on this machine; allow more",
    errno.ESTALE: "what was mounted there is another by now; mount it again",
    errno.ENOTCONN: "what was mounted there is gone; mount it again",
}
_NETWORK = {
    errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN,
    errno.ETIMEDOUT, errno.EPIPE, errno.EHOSTDOWN,
}  # fmt: skip

_OF_FILES = (
    "ProfileNotFound", "ConfigNotFound", "ConfigParse", "InvalidConfig", "CredentialRetrieval", "SSO", "TokenRetrieval",
    "MetadataRetrieval",
)  # fmt: skip
"""Of botocore's errors those about a profile, its files, and what they lead to for credentials."""

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
_OTHER_REGION = {
    "PermanentRedirect", "TemporaryRedirect", "Redirect", "AuthorizationHeaderMalformed", "301", "307",
    "IllegalLocationConstraintException",
}  # fmt: skip
ACCOUNT = {
    *_EXPIRED, *_OTHER_REGION, "RequestTimeTooSkewed", "InvalidToken", "InvalidAccessKeyId", "SignatureDoesNotMatch",
    "AccountProblem", "NotSignedUp", "InvalidSecurity", "InvalidPayer", "400", "BadRequest",
}  # fmt: skip
"""S3's codes for faults of whoever asks (credentials, region, clock), not of what is asked for."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was made of, the outermost first."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:  # of two errors each may be said to come from the other
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or getattr(cause, "os_error", None)  # the latter is aiohttp's


def s3_code(error: BaseException) -> str:
    """What S3 calls an error; empty for others."""
    return str(_s3_answer(error).get("Error", {}).get("Code", ""))


def no_such_host(error: BaseException) -> bool:
    """Whether the name of a host is known to nobody: not where a name server only fails to answer."""
    unknown = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
    return any(isinstance(cause, socket.gaierror) and cause.errno in unknown for cause in causes(error))


def http_answer(error: BaseException) -> str:
    """``the server answers 403 Forbidden``; empty where no HTTP server answered, or with what is no HTTP."""
    code = getattr(error, "status", None)  # aiohttp.ClientResponseError, which a broken answer gives too
    if not isinstance(code, int) or code < 400 or error.__cause__ is not None:
        return ""
    return f"the server answers {code} {responses.get(code, '')}".rstrip()  # its own words may be anything


def explained(error: BaseException, url: str, *, local: bool, anonymous: bool) -> str | None:
    """The line for an error at ``url``, on this machine's disks (``local``) or not; None for what is no storage's.

    ``anonymous``: the request was made without credentials.
    """
    kind = f"{type(error).__module__}.{type(error).__name__}"
    said = brief(error)
    nobody = " The request was anonymous: no AWS credentials were found." if anonymous else ""
    if isinstance(error, Refused | TooLarge):
        return str(error)
    if answer := _s3_answer(error):
        if account := _of_account(s3_code(error), answer, said):
            return f"{url}: {account}"
    elif isinstance(error, OSError) and error.errno in _LOCAL:
        return f"{url}: {_LOCAL[error.errno]} ({said})"
    if isinstance(error, IsADirectoryError):
        return f"{url}: it is a folder or device, and no file; check the path"
    if isinstance(error, PermissionError):
        hint = "check the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_PROFILE)"
        return f"{url}: access denied ({said});{nobody} {'check its permissions' if local else hint}"
    if isinstance(error, FileNotFoundError):
        return f"{url}: not found ({said}); check the {'path' if local else 'bucket and path'}"
    if "NoCredentials" in kind or "PartialCredentials" in kind:
        return f"{url}: no usable credentials ({said}); set AWS_ACCESS_KEY_ID and its secret"
    if kind.startswith("botocore.") and any(part in kind for part in _OF_FILES):
        return f"{url}: no usable credentials ({said}); check AWS_PROFILE and the files in ~/.aws, or aws sso login"
    if isinstance(error, ValueError) and not local and "endpoint" in said:  # botocore's word for it
        return f"{url}: the endpoint is no URL ({said}); set AWS_ENDPOINT_URL to one, e.g. http://127.0.0.1:9000"
    if kind.endswith(".ParamValidationError"):
        return f"{url}: no valid S3 URL; write it as s3://bucket/path"
    if kind.endswith(".TooManyRedirects"):
        return f"{url}: the server redirects without end; check the URL"
    if not isinstance(error, OSError | TimeoutError) and not kind.startswith(("botocore.", "aiohttp.")):
        return None
    if answered := http_answer(error):
        return f"{url}: {answered}; check the URL, and whether it asks for a login"
    if no_such_host(error):
        return f"{url}: no host has that name ({said}); check its spelling, and AWS_ENDPOINT_URL where that names it"
    if "SSL" in kind or "Certificate" in kind:
        return f"{url}: no trusted connection ({said}); check the address, this machine's clock and AWS_CA_BUNDLE"
    if local and getattr(error, "errno", None) not in _NETWORK:
        return f"{url}: it cannot be read or written ({said}); check the path and its disk, then run again"
    return f"{url}: cannot be reached ({said});{nobody} check the network and AWS_ENDPOINT_URL, then run again"


def _s3_answer(error: BaseException) -> dict[str, Any]:
    found = getattr(error.__cause__ or error, "response", None)
    return found if isinstance(found, dict) else {}


def _of_account(code: str, answer: dict[str, Any], said: str) -> str | None:
    """What is wrong with whoever asks, and what to do; None where the answer shows nothing of that."""
    headers = {key.lower(): value for key, value in answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).items()}
    region = answer["Error"].get("Region") or headers.get("x-amz-bucket-region")
    if code in _EXPIRED:
        return f"the credentials have expired ({said}); get new ones (AWS_SESSION_TOKEN, aws sso login), then run again"
    if code in _OTHER_REGION or (code in ("400", "BadRequest") and region):
        return f"the bucket is in another region ({said}); set AWS_REGION{f': it is {region}' if region else ''}"
    if code in ("InvalidToken", "400", "BadRequest"):
        return (
            f"the server refuses the request ({said}); an AWS_SESSION_TOKEN that has expired or belongs to other keys "
            "does that, and a wrong AWS_REGION"
        )
    off = _clock_off(headers.get("date", ""))
    if code == "RequestTimeTooSkewed" or (code in ("403", "AccessDenied", "SignatureDoesNotMatch") and off):
        by = f"is {off} minutes {'ahead of' if off > 0 else 'behind'}" if off else "differs from"
        return f"this machine's clock {by} the server's ({said}); set it (NTP), then run again"
    return None


def _clock_off(date: str) -> int:
    """By how many minutes this machine is ahead of an answer's date; 0 where that is little, or not said."""
    try:
        ahead = time.time() - parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return 0
    return round(ahead / 60) if abs(ahead) > _SKEW_S else 0
