"""Interrupts and stops: heard wherever they come, in or around a run, and answered with 130 and how to go on."""

import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from clipseg_ray.cluster import connection
from clipseg_ray.cluster.interrupt import raise_if_asked, terminate_as_interrupt
from clipseg_ray.pipeline import driver, execute
from clipseg_ray.pipeline import outcome as outcomes
from clipseg_ray.pipeline.breaker import RunStopped


def ask(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def test_a_stop_is_remembered_until_the_outermost_is_left() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with terminate_as_interrupt():
        signal.signal(signal.SIGTERM, lambda *_: None)  # as Ray does when it is started
        with terminate_as_interrupt():
            with pytest.raises(KeyboardInterrupt):
                ask()
        with pytest.raises(KeyboardInterrupt):
            raise_if_asked()
    raise_if_asked()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_before_and_after_the_run_itself_a_stop_is_an_interrupted_run(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "look", lambda *_, **__: ask(number))
    found = driver.run(SimpleNamespace(), invocation="clipseg-ray run x.yaml")  # type: ignore[arg-type]
    assert (found.code, found.run_id) == (outcomes.INTERRUPTED, None)
    assert found.message.endswith("run it again to go on: clipseg-ray run x.yaml")


def test_what_ray_makes_of_an_interrupt_is_no_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def results(*_: Any, **__: Any) -> Any:
        try:
            ask(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise RuntimeError("the worker died unexpectedly") from error
        yield

    watch = SimpleNamespace(step=None, look=None, stop=lambda: None)
    monkeypatch.setattr(execute, "_Watch", lambda *_: watch)
    monkeypatch.setattr(execute.graph, "results", results)
    nothing: Any = SimpleNamespace(reader=None, spec=None)
    with terminate_as_interrupt(), pytest.raises(KeyboardInterrupt):
        execute._one_pass(nothing, [], nothing, nothing, isolate=False)
    monkeypatch.setattr(execute.graph, "results", lambda *_, **__: (1 / 0 for _ in range(1)))
    with terminate_as_interrupt(), pytest.raises(RunStopped, match="division by zero"):
        execute._one_pass(nothing, [], nothing, nothing, isolate=False)


@pytest.mark.parametrize("address", [None, "10.0.0.1:6379"])
def test_rays_core_keeps_its_workings_off_the_terminal(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    seen: list[str | None] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: seen.append(os.environ.get("RAY_BACKEND_LOG_LEVEL")))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setenv("RAY_BACKEND_LOG_LEVEL", "info")
    monkeypatch.delenv("RAY_BACKEND_LOG_LEVEL")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with connection.connected():
        pass
    assert seen == ["fatal"]
