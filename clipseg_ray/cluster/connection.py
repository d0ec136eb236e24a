"""The Ray cluster a driver works on: the one at ``RAY_ADDRESS``, or one of its own on this machine."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clipseg_ray.errors import UserError, last_line


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
    # Ray's core would report its inner workings (core_worker.cc) to the terminal, whosever the cluster is.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        address = None if "RAY_ADDRESS" in os.environ else "local"
        # A dashboard nobody looks at took 4 % of a two-core machine.
        dashboard = None if address is None else False
        ray.init(address=address, include_dashboard=dashboard, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # a node that does not start in Ray's 30 s is a bare Exception
        where = f"reached at {os.environ['RAY_ADDRESS']}" if "RAY_ADDRESS" in os.environ else "started on this machine"
        raise UserError(f"Ray cannot be {where}: {last_line(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()
