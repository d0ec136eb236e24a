"""A Ray cluster of its own for a test: a head with token authentication, on free ports, ended by pid."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_ATTEMPTS = 4


@dataclass(frozen=True)
class RayHead:
    """A running head: the URL of its dashboard, and the environment a client needs."""

    address: str
    environment: dict[str, str]


@contextmanager
def ray_head(cpus: int = 2) -> Iterator[RayHead]:
    """A head node with so many CPUs, in a working directory of its own, that has never heard of this repository."""
    # Sockets lie under it, and their paths may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="head-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        environment.pop("RAY_ADDRESS", None)
        try:
            yield RayHead(_start(folder, environment, cpus), environment)
        finally:
            _end(folder)


def _start(folder: str, environment: dict[str, str], cpus: int) -> str:
    """The dashboard's URL of a head that has been started; Ray gives it 30 s, which a busy machine may exceed."""
    for _ in range(_ATTEMPTS):
        port, dashboard, client, agent = _free_ports(4)
        command = f"""
            --head --node-ip-address=127.0.0.1 --port={port} --num-cpus={cpus} --object-store-memory=200000000
            --dashboard-host=127.0.0.1 --dashboard-port={dashboard} --dashboard-agent-listen-port={agent}
            --ray-client-server-port={client} --min-worker-port=0 --max-worker-port=0 --temp-dir={folder}
            --disable-usage-stats
        """.split()
        ray = str(Path(sys.executable).parent / "ray")
        done = subprocess.run([ray, "start", *command], env=environment, cwd=folder, timeout=300)
        if done.returncode == 0:
            return f"http://127.0.0.1:{dashboard}"
        _end(folder)
    raise AssertionError("no head started; what Ray said is above")


def _free_ports(count: int) -> list[int]:
    with_sockets = [socket.socket() for _ in range(count)]
    for each in with_sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in with_sockets]
    for each in with_sockets:
        each.close()
    return ports


def _end(folder: str) -> None:
    """Kill every process whose command line names the cluster's folder, and what these started."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(folder in word for word in process.cmdline()):
                found += [*process.children(recursive=True), process]
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(found, timeout=30)
