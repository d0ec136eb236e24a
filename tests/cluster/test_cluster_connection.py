"""Connecting to Ray beside other work: waited for where it is needed, ended whatever happens, quiet but in trouble."""

import os
import signal
import threading
import time
from typing import Any

import pytest

from clipseg_ray.cluster import connection
from clipseg_ray.cluster.interrupt import terminate_as_interrupt
from clipseg_ray.errors import UserError

LEVEL = b"[2026-01-01 00:00:00,000 I 1 1] logging.cc:303: Set ray log level from environment variable to 3\n"
FATAL = b"[2026-01-01 00:00:00,000 C 1 1] raylet_client.cc:40: could not connect to socket\n"


@pytest.fixture
def ray_(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ray, of which nothing is there but what it was asked: what ``init`` does may be set."""
    import ray

    class Asked:
        def __init__(self) -> None:
            self.told: list[str] = []
            self.init: Any = lambda: None

    asked = Asked()

    def init(**_: Any) -> None:
        asked.told.append("init")
        asked.init()
        asked.told.append("there")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: asked.told.append("shutdown"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return asked


def test_it_starts_beside_other_work_and_lives_until_the_end(ray_: Any) -> None:
    go = threading.Event()
    ray_.init = lambda: go.wait(60)
    with connection.connecting() as connect:
        ray_.told.append("other work")
        go.set()
        connect()
        assert "there" in ray_.told
        (thread,) = [each for each in threading.enumerate() if each.name == "connecting"]
        time.sleep(0.1)
        assert thread.is_alive(), "Linux ends Ray's processes with the thread that started them"
    assert sorted(ray_.told[:2]) == ["init", "other work"]
    assert ray_.told[2:] == ["there", "shutdown"]
    thread.join(10)
    assert not thread.is_alive()


def test_a_start_that_fails_is_one_error_where_it_is_waited_for(ray_: Any) -> None:
    ray_.init = lambda: 1 / 0
    with pytest.raises(UserError, match="Ray cannot be started on this machine: division by zero"):
        with connection.connecting() as connect:
            connect()


def test_where_both_fail_the_other_work_is_heard(ray_: Any) -> None:
    ray_.init = lambda: 1 / 0
    with pytest.raises(UserError, match="no such table"):
        with connection.connecting():
            raise UserError("no such table")


def test_an_interrupt_while_it_starts_is_heard_and_nothing_stays(ray_: Any) -> None:
    ray_.init = lambda: time.sleep(1.0)
    asking = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    asking.start()
    with pytest.raises(KeyboardInterrupt), terminate_as_interrupt(), connection.connecting() as connect:
        connect()
    assert ray_.told == ["init", "there", "shutdown"]


def test_a_start_that_hangs_is_left_behind(ray_: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_LEAVING_S", 0.2)
    never = threading.Event()
    ray_.init = lambda: never.wait(60)
    with pytest.raises(KeyboardInterrupt), connection.connecting():
        raise KeyboardInterrupt
    assert ray_.told == ["init"]
    never.set()


def test_of_rays_core_only_its_level_is_kept_back(ray_: Any, capfd: pytest.CaptureFixture[str]) -> None:
    ray_.init = lambda: os.write(2, LEVEL + FATAL)
    with connection.connected():
        os.write(2, b"ours\n")
    expected, heard, deadline = FATAL.decode() + "ours\n", "", time.monotonic() + 60
    while len(heard) < len(expected) and time.monotonic() < deadline:  # on a busy machine what sifts is late
        heard += capfd.readouterr().err
        time.sleep(0.01)
    assert sorted(heard.splitlines()) == sorted(expected.splitlines())


@pytest.mark.parametrize(("raised", "heard"), [(KeyboardInterrupt, False), (ValueError, True)])
def test_a_thread_that_ray_cut_off_leaves_no_traceback(
    raised: type[BaseException], heard: bool, ray_: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: seen.append(args.exc_type))
    connection._expect_cut_off_threads.cache_clear()

    def body() -> None:
        raise raised

    with connection.connected():
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
    assert seen == ([raised] if heard else [])
    connection._expect_cut_off_threads.cache_clear()
