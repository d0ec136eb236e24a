"""Ray clusters of several nodes on one machine, with GPUs that are only counted: nodes that can be killed, and a head
that launches nodes itself (Ray's fake multi-node provider). Each is a process tree of its own, ended by pid."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).parents[2]
_HEAD_NODE_ID = "f" * 51 + "00000"
_STORE = 200 * 2**20
_SLOW_MACHINE = {"RAY_agent_register_timeout_ms": "240000", "RAY_worker_register_timeout_seconds": "240"}


@dataclass
class Node:
    """One node: a ``ray start --block`` and all it started."""

    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """SIGKILL to every process of the node, as when its machine is taken away."""
        processes = _tree(self.process.pid)
        for process in processes:
            process.suspend()  # or a parent would report a child's death first, as no lost machine does
        for process in processes:
            process.kill()
        self.process.wait(30)


@dataclass
class Cluster:
    """A head without CPUs or GPUs, and nodes."""

    address: str
    folder: Path
    environment: dict[str, str]
    head: Node
    nodes: list[Node] = field(default_factory=list)
    drivers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """Processes that end with the cluster, however a test ends."""

    def add_node(self, cpus: int = 1, gpus: int = 1) -> Node:
        """Start a node and wait until it has joined: two that start at once on one machine take the same sockets."""
        options = [f"--address={self.address}", f"--num-cpus={cpus}", f"--num-gpus={gpus}"]
        log = self.folder / f"node-{time.monotonic_ns()}.log"
        node = Node(_ray_start(options, self.environment, log))
        self.nodes.append(node)
        _wait_until_started(node.process, log)
        return node

    def kill_node(self, node: Node) -> None:
        """As when its machine is taken away."""
        node.kill()
        self.nodes.remove(node)

    def node_of(self, pid: int) -> Node:
        """The node that a process belongs to."""
        return next(node for node in self.nodes if any(process.pid == pid for process in _tree(node.process.pid)))

    def launched(self) -> int:
        """Nodes that the head's autoscaler has running."""
        return sum(process.name() == "raylet" for process in _tree(self.head.process.pid)) - 1


def environment() -> dict[str, str]:
    """What every process of a cluster and its drivers is given."""
    python_path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": python_path, **_SLOW_MACHINE}


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A head, to which nodes of one CPU and one GPU each can be added."""
    with _head({}) as started:
        yield started


@contextmanager
def autoscaling_cluster(gpu_nodes: int, *, idle_s: float = 6) -> Iterator[Cluster]:
    """A head that launches up to ``gpu_nodes`` nodes of one CPU and one GPU when asked, and none otherwise."""
    settings = {
        "cluster_name": "fake",
        "max_workers": gpu_nodes,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "head_node_id": _HEAD_NODE_ID,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "min_workers": 0, "max_workers": 0},
            "gpu": {
                "resources": {"CPU": 1, "GPU": 1, "object_store_memory": _STORE},
                "node_config": {},
                "min_workers": 0,
                "max_workers": gpu_nodes,
            },
        },
        "head_node_type": "ray.head.default",
        "idle_timeout_minutes": idle_s / 60,
        "upscaling_speed": 100.0,
        "auth": {},
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "setup_commands": [],
        "initialization_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
    }
    variables = {
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": _HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD_NODE_ID,
    }
    with _head(variables, settings) as started:
        yield started


@contextmanager
def _head(extra: Mapping[str, str], autoscaling: dict | None = None) -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="fake-", dir="/tmp"))  # short: sockets lie in it
    address = f"127.0.0.1:{_free_port()}"
    variables = {**environment(), **extra}
    options = [
        "--head",
        f"--port={address.rpartition(':')[2]}",
        "--num-cpus=0",
        "--num-gpus=0",
        "--include-dashboard=false",
        f"--temp-dir={folder}",
    ]
    if autoscaling is not None:
        autoscaling["provider"]["gcs_address"] = address
        (folder / "autoscaling.yaml").write_text(yaml.safe_dump(autoscaling))
        options.append(f"--autoscaling-config={folder / 'autoscaling.yaml'}")
    head = Node(_ray_start(options, variables, folder / "head.log"))
    started = Cluster(address, folder, variables, head)
    try:
        _wait_until_started(head.process, folder / "head.log")
        yield started
    finally:
        for driver in started.drivers:
            driver.kill()
            driver.wait(30)
        for node in (*started.nodes, started.head):
            if node.process.poll() is None:
                node.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _ray_start(options: list[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    command = [
        str(Path(sys.executable).parent / "ray"),
        "start",
        "--block",
        "--node-ip-address=127.0.0.1",
        f"--object-store-memory={_STORE}",
        "--min-worker-port=0",
        "--max-worker-port=0",
        "--dashboard-agent-listen-port=0",
        "--disable-usage-stats",
        *options,
    ]
    with log.open("wb") as sink:
        return subprocess.Popen(
            command, stdout=sink, stderr=subprocess.STDOUT, env=dict(environment), start_new_session=True
        )


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_started(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 1200
    while "Ray runtime started" not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"a node did not start: {log.read_text(errors='replace')}")
        time.sleep(0.2)
