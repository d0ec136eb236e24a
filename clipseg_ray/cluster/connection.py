"""The Ray cluster a driver works on: the one at ``RAY_ADDRESS``, or one of its own on this machine."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from clipseg_ray.cluster import ray_internals
from clipseg_ray.errors import UserError, last_line

_GETSIG = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_int)(("PyOS_getsig", ctypes.pythonapi))
_SETSIG = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(("PyOS_setsig", ctypes.pythonapi))

_PATIENCE_S = 3.0
"""How long a thread of Ray Data's may take to end once it was told to."""

_LEAVING_S = 15.0
"""How long a start that nobody wants any more may go on before it is left behind."""


def guard_a_local_cluster() -> None:
    """Give a cluster of our own a token of its own, before Ray is imported: Ray would leave one in the home folder."""
    settings = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    if any(name in os.environ for name in settings) or (Path.home() / ".ray" / "auth_token").exists():
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def expect_lost_nodes() -> None:
    """Before Ray is imported: settings for machines and drivers that vanish.

    * Ray takes about 15 s to notice a lost node. Until then each call to one of its actors fails at once, and Ray's
      three tries were spent within seconds: chunk after chunk was given up. With the tries 20 and 40 s apart they
      outlast the doubt; an actor known to be dead is not waited for.
    * What a killed driver had asked for is kept from the run that takes its place for 45 s, where Ray Data would keep
      it for three minutes. A living driver asks again every ten seconds.
    """
    os.environ.setdefault("RAY_task_actor_unavailable_retry_delay_base_ms", "20000")
    os.environ.setdefault("RAY_task_actor_unavailable_retry_max_delay_ms", "60000")
    os.environ.setdefault("RAY_DATA_AUTOSCALING_REQUEST_EXPIRE_TIME_S", "45")


@contextmanager
def connected() -> Iterator[None]:
    """Ray, connected or started; left running if somebody else started it."""
    import ray

    if ray.is_initialized():
        yield
        return
    _connect()
    try:
        yield
    finally:
        _shut_down()


@contextmanager
def connecting() -> Iterator[Callable[[], None]]:
    """``connected``, beside what its caller does meanwhile: the function given waits until Ray is there.

    It raises UserError where Ray cannot be reached or started.
    """
    import ray

    if ray.is_initialized():
        yield lambda: None
        return
    there, over = threading.Event(), threading.Event()
    failed: list[UserError] = []

    def connect() -> None:
        try:
            _connect()
        except UserError as error:
            failed.append(error)
        finally:
            there.set()
        over.wait()  # Linux kills the processes of Ray's that this thread has started when it ends

    def wait() -> None:
        there.wait()
        if failed:
            raise failed[0]

    threading.Thread(target=connect, daemon=True, name="connecting").start()
    try:
        yield wait
    finally:
        if there.wait(_LEAVING_S) and _shut_down():
            over.set()


def _shut_down() -> bool:
    """Shut Ray down, and say whether: not under a thread of Ray Data's that still calls it after some patience.

    A call after ``ray.shutdown`` ends this process at once, whatever it was to end with (Ray's core_worker_process.cc).
    """
    import ray

    deadline = time.monotonic() + _PATIENCE_S
    while ray_internals.scheduling():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    ray.shutdown()
    return True


def leave(code: int) -> NoReturn:
    """End this process with ``code``, at once where Ray was left behind: it dies with us, and says nothing more."""
    if ray_internals.scheduling():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _connect() -> None:
    import ray

    # Ray's core would report its inner workings (core_worker.cc) to the terminal, whosever the cluster is.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    _expect_cut_off_threads()
    try:
        address = None if "RAY_ADDRESS" in os.environ else "local"
        # A dashboard nobody looks at took 4 % of a two-core machine.
        dashboard = None if address is None else False
        with _sifted(), _our_sigterm():
            ray.init(address=address, include_dashboard=dashboard, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # a node that does not start in Ray's 30 s is a bare Exception
        where = f"reached at {os.environ['RAY_ADDRESS']}" if "RAY_ADDRESS" in os.environ else "started on this machine"
        raise UserError(f"Ray cannot be {where}: {last_line(error)}") from error


@functools.cache
def _expect_cut_off_threads() -> None:
    """Let threads of Ray's whose call was cut off by its end go without a traceback on the terminal.

    Python interrupts the main thread alone: KeyboardInterrupt in another one is what Ray makes of such a call.
    """
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, KeyboardInterrupt):
            before(args)

    threading.excepthook = hook


@contextmanager
def _our_sigterm() -> Iterator[None]:
    """Ray's core takes SIGTERM for itself, whichever thread it is started on; give it back.

    ``signal.signal`` may be called from the main thread alone; this is what it calls.
    """
    ours = _GETSIG(signal.SIGTERM)
    try:
        yield
    finally:
        _SETSIG(signal.SIGTERM, ours)


@contextmanager
def _sifted() -> Iterator[None]:
    """Standard error without a line that Ray's core writes before it heeds the level it was given: which level.

    A process of its own sifts, where there is grep: if Ray's core ends this one, what it said last is heard.
    """
    grep = shutil.which("grep")
    if grep is None:
        yield
        return
    sift = [grep, "--line-buffered", "-a", "-v", "Set ray log level"]
    sifting = subprocess.Popen(sift, stdin=subprocess.PIPE, stdout=2, start_new_session=True)
    assert sifting.stdin is not None
    before = os.dup(2)
    os.dup2(sifting.stdin.fileno(), 2)
    sifting.stdin.close()
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        with suppress(subprocess.TimeoutExpired):
            sifting.wait(1.0)
