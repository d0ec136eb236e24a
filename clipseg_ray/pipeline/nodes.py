"""The cluster's nodes as a run sees them: which came, which went, what an autoscaler does about actors that wait."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import ray

from clipseg_ray.cluster import ray_internals
from clipseg_ray.errors import last_line
from clipseg_ray.pipeline.progress import Reporter

_EVERY_S = 3.0
_PATIENCE_S = 20.0
"""How long actors may be without a process of their own before that is reported."""
_STARTING = "the actors load the model"
_SHOWN = 4
"""Nodes named one by one; of more at once only the number is reported."""


class NodeWatch:
    """Says a line for each node that joins or goes, and notes in the heartbeat what actors wait for, until ``stop``.

    ``needs``: what one actor asks for, in words.
    """

    def __init__(self, reporter: Reporter, needs: str) -> None:
        self._reporter = reporter
        self._needs = needs
        self.there = ""
        """The cluster's CPUs and GPUs, and what its memory monitor did, as of the last look."""
        self._nodes = Nodes()
        self._killed_before: int | None = None
        self._waiting: int | None = None
        self._some_since = self._all_since = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._looks, daemon=True)
        self._thread.start()

    def actors(self, running: int | None, waiting: int | None) -> None:
        """How many actors are ready and how many are not, now; nothing is said of them where Ray does not report it."""
        self._waiting = waiting
        now = time.monotonic()
        if running is None or running:
            self._some_since = now
        if not waiting:
            self._all_since = now

    def stop(self) -> None:
        """No more lines."""
        self._stopped.set()
        self._thread.join(_EVERY_S)  # a look may hang in a cluster that does
        self._reporter.note = ""

    def _looks(self) -> None:
        while not self._stopped.is_set():
            try:
                for line in self._nodes.news():
                    self._reporter.say(f"after {self._reporter.snapshot()['elapsed_s']:.0f} s: {line}")
                self.there = "; ".join(filter(None, (there_and_free(), self._memory())))
                self._reporter.note = self._note()
            except Exception as error:  # a look that fails must not stop the next one
                self._reporter.say(f"the cluster's nodes could not be listed: {last_line(error)}")
            self._stopped.wait(_EVERY_S)

    def _note(self) -> str:
        if self._waiting is None:
            return ""
        now = time.monotonic()
        without, short = now - self._some_since, now - self._all_since
        patient = short <= _PATIENCE_S or bool(ray_internals.starting_actors())
        if without > _EVERY_S:
            if patient:
                return _STARTING
            who = f"no actor ready for {without:.0f} s"
        elif patient:
            return ""
        else:
            who = f"{self._waiting} actor(s) not ready"
        return "; ".join(filter(None, (f"{who}: each needs {self._needs}", self.there, launching())))

    def _memory(self) -> str:
        killed = ray_internals.workers_killed_for_memory() or 0
        if self._killed_before is None:
            self._killed_before = killed
        since = killed - self._killed_before
        return f"Ray's memory monitor killed {since} worker(s) since then, memory is short" if since else ""


class Nodes:
    """Remembers the nodes that were there; ``news`` reports what changed since."""

    def __init__(self) -> None:
        self._alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}

    def news(self) -> list[str]:
        """A line for each node that joined or went since the last call."""
        nodes = {node["NodeID"]: node for node in ray.nodes()}
        alive = {name: node for name, node in nodes.items() if node["Alive"]}
        joined = [_name(node) for name, node in alive.items() if name not in self._alive]
        gone = [
            f"{_name(node)} is gone{_reason(nodes.get(name))}"
            for name, node in self._alive.items()
            if name not in alive
        ]
        self._alive = alive
        there = f"the cluster has {held(_total(alive.values()))} now"
        return [
            *_lines([f"{name} joined" for name in joined], "nodes joined", there),
            *_lines(gone, "nodes are gone", there),
        ]


def _lines(each: list[str], of_many: str, there: str) -> list[str]:
    if len(each) > _SHOWN:
        return [f"{len(each)} {of_many}; {there}"]
    return [f"node {line}; {there}" for line in each]


def _name(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} {node['NodeID'][:8]} ({held(node['Resources'])})"


def _reason(node: dict[str, Any] | None) -> str:
    reason = " ".join(str((node or {}).get("DeathReasonMessage") or "").split())
    return f", {reason[:120]}" if reason else ""


def _total(nodes: Iterable[dict[str, Any]]) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float)
    for node in nodes:
        for name, amount in node["Resources"].items():
            total[name] += amount
    return total


def held(resources: Mapping[str, float]) -> str:
    """CPUs and GPUs in words: ``4 CPU, 1 GPU``."""
    return ", ".join(f"{resources.get(name, 0):g} {name}" for name in ("CPU", "GPU"))


def there_and_free() -> str:
    """The cluster's CPUs and GPUs in words."""
    return f"the cluster has {held(ray.cluster_resources())}, free are {held(ray.available_resources())}"


def launching() -> str:
    """What the autoscaler does about actors that wait, in words; empty where there is none or it does nothing."""
    launches = ray_internals.launches()
    parts = [f"launching {count} {name}" for name, count in (launches.pending or {}).items()]
    if launches.failed:
        name, reason = launches.failed
        parts.append(f"launch of {name} failed: {reason[:160]}")
    return ", ".join(parts)
