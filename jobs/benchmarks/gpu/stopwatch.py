"""Seconds of work on a device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


def synchronize(device: str) -> None:
    """Wait until the device has done everything asked of it; a CPU has."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(run: Callable[[], object], device: str, *, rounds: int = 3, warm: bool = True) -> float:
    """The median over ``rounds`` of the time ``run`` takes, the device waited for before and after."""
    if warm:
        run()
    found = []
    for _ in range(rounds):
        synchronize(device)
        started = time.perf_counter()
        run()
        synchronize(device)
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def seconds_each(run: Callable[[], object], device: str, budget_s: float) -> float:
    """Seconds a call of something short, called as often as fills ``budget_s``."""
    once = seconds(run, device, rounds=1)
    repeats = max(1, min(10_000, round(budget_s / 3 / max(once, 1e-7))))

    def many() -> None:
        for _ in range(repeats):
            run()

    return seconds(many, device, warm=False) / repeats
