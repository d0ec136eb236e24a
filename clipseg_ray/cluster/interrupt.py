"""Ctrl-C and a job manager's SIGTERM: both end a run at once, and neither is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ASKED = threading.Event()
"""Set by the signals: an interrupt raised inside one of Ray's callbacks may never reach us."""


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """A stop a job manager asks for (SIGTERM) ends the run as Ctrl-C does, even where Ray swallows the exception.

    May be entered again inside: Ray takes SIGTERM for itself whenever it is started.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    outermost = before[signal.SIGINT] is not _interrupt
    if outermost:
        _ASKED.clear()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if outermost:
            _ASKED.clear()


def _interrupt(*_: object) -> None:
    _ASKED.set()
    raise KeyboardInterrupt


def raise_if_asked() -> None:
    """KeyboardInterrupt, if a signal came since ``terminate_as_interrupt`` was entered."""
    if _ASKED.is_set():
        raise KeyboardInterrupt
