"""Exceptions of our own, what others say in one line, and the name that was meant."""

import difflib
from collections.abc import Iterable

from clipseg_ray.printable import printable
from clipseg_ray.redaction import redacted


class UserError(Exception):
    """Something the user can put right: one message that names the file or key, what is wrong and what to do.

    The command line prints it as one line without a stack trace and exits with code 2. Secrets in URLs are hidden.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(redacted(message)))


class Refused(PermissionError):
    """Data names a place that it may not; the message says which, and what allows it."""


class TooLarge(OSError):
    """An object has more bytes than are read of one."""


def brief(error: BaseException, at_most: int = 300) -> str:
    """What an error says, in one line of at most so many characters; its type where it says nothing."""
    return printable(redacted(" ".join(str(error).split())))[:at_most] or type(error).__name__


def last_line(error: BaseException) -> str:
    """The last line of what went wrong: Ray hands on a worker's exception as the text of its traceback."""
    cause: BaseException = error
    while cause.__cause__ is not None and str(cause.__cause__).strip():
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip(" .")]
    line = lines[-1] if lines else type(cause).__name__
    return printable(redacted(line.removeprefix("clipseg_ray.errors.UserError: ")))[:500]


def nearest(name: str, names: Iterable[str], *, most: int = 1, cutoff: float = 0.5) -> list[str]:
    """Those of ``names`` that ``name`` was likely meant to be, the likeliest first; ``cutoff``: how alike (0 to 1)."""
    return difflib.get_close_matches(name, list(names), most, cutoff)


def meant(name: str, names: Iterable[str], form: str = "{}") -> str:
    """``did you mean mug? There are cup, mug``, without the question where none is near; ``form``: how it writes it."""
    near = nearest(name, names)
    hint = f"did you mean {form.format(near[0])}? There" if near else "there"
    return f"{hint} are {', '.join(names) or 'none'}"
