"""What Ray gives, waited for on a thread of its own: where Ray hangs, the thread that decides does not."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

_LOOK_S = 0.2
_END_S = 15.0
"""How long ending may take before whatever hangs is left behind."""


def awaited(
    items: Iterable[T], look: Callable[[], None], end: Callable[[], object] = lambda: None
) -> Generator[T, None, None]:
    """``items``, one by one as they come; ``look`` is called a few times a second meanwhile, and may raise to leave.

    Left before the last item, it calls ``end``, which should make ``items`` come to an end; what has not ended after
    some seconds is left behind, on threads that hold up nobody's exit. Raises what ``items`` raises.
    """
    found: queue.SimpleQueue[T | _Ended] = queue.SimpleQueue()

    def take() -> None:
        try:
            for item in items:
                found.put(item)
        except BaseException as error:
            found.put(_Ended(error))
        else:
            found.put(_Ended(None))

    taking = threading.Thread(target=take, daemon=True, name="awaited")
    taking.start()
    whole = False
    try:
        while True:
            try:
                item = found.get(timeout=_LOOK_S)
            except queue.Empty:
                look()
                continue
            if isinstance(item, _Ended):
                whole = True
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        if not whole:
            _end(end, taking)


class _Ended:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def _end(end: Callable[[], object], taking: threading.Thread) -> None:
    def quietly() -> None:
        with suppress(Exception):
            end()

    ending = threading.Thread(target=quietly, daemon=True, name="ending")
    ending.start()
    ending.join(_END_S)
    taking.join(1.0)
