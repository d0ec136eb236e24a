"""Waiting for what may never come, without Ray: the thread that waits stays free to leave."""

import threading
import time
from collections.abc import Iterator

import pytest

from clipseg_ray.cluster import awaited as module
from clipseg_ray.cluster.awaited import awaited


class Left(Exception):
    """Why a pass is left."""


def leave() -> None:
    raise Left


def hanging(first: list[int], blocked: threading.Event) -> Iterator[int]:
    """Some items, then none until the event is set."""
    yield from first
    blocked.wait(60)


def test_all_items_come_in_their_order_and_nothing_is_ended() -> None:
    assert list(awaited(range(5000), leave_never, lambda: pytest.fail("it ended by itself"))) == list(range(5000))


def leave_never() -> None: ...


def test_what_the_items_raise_is_raised_here() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    found = awaited(items(), leave_never)
    assert next(found) == 1
    with pytest.raises(ValueError, match="broken"):
        next(found)


def test_a_thread_that_hangs_is_left_and_told_to_end() -> None:
    blocked = threading.Event()
    found = awaited(hanging([1, 2], blocked), leave, blocked.set)
    assert [next(found), next(found)] == [1, 2]
    started = time.monotonic()
    with pytest.raises(Left):
        next(found)
    assert blocked.is_set()
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("broken", [False, True])
def test_what_does_not_end_is_left_behind(monkeypatch: pytest.MonkeyPatch, broken: bool) -> None:
    monkeypatch.setattr(module, "_END_S", 0.3)
    never = threading.Event()
    found = awaited(hanging([1], never), leave, (lambda: 1 / 0) if broken else (lambda: never.wait(60)))
    next(found)
    started = time.monotonic()
    found.close()  # as when the one who takes the items fails
    assert time.monotonic() - started < 10
    never.set()
