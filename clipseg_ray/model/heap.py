"""Memory that is free given back to the system."""

import ctypes
from functools import cache
from typing import Any


@cache
def _trimmer() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library than glibc
        return None


def trim() -> None:
    """Give back free pages in the middle of malloc's heap (malloc_trim(3)).

    A few bytes kept from each block of masks cut the gaps between them too small for the next block's logits, so that
    the heap grows; its free pages need not stay in memory.
    """
    trimmer = _trimmer()
    if trimmer is not None:
        trimmer(0)
