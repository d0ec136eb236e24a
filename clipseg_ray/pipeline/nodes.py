"""The cluster's nodes as a run sees them: which came, which went, what an autoscaler is doing about those that wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import ray

_SHOWN = 4
"""Nodes told one by one; of more at once only the number is told."""


class Nodes:
    """Remembers the nodes that were there; ``news`` tells what changed since."""

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
    total: Counter[str] = Counter()
    for node in nodes:
        total.update(node["Resources"])
    return total


def held(resources: dict[str, float]) -> str:
    """CPUs and GPUs in words: ``4 CPU, 1 GPU``."""
    return ", ".join(f"{resources.get(name, 0):g} {name}" for name in ("CPU", "GPU"))


def launching() -> str:
    """What the autoscaler does about actors that wait, in words; empty where there is none or it does nothing."""
    from ray.autoscaler.v2.sdk import get_cluster_status

    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    counts: dict[str, int] = {}
    for launch in status.pending_launches:
        counts[launch.ray_node_type_name] = counts.get(launch.ray_node_type_name, 0) + launch.count
    for node in status.pending_nodes:
        counts[node.ray_node_type_name] = counts.get(node.ray_node_type_name, 0) + 1
    parts = [f"launching {count} {name}" for name, count in counts.items()]
    if status.failed_launches:
        last = status.failed_launches[-1]
        parts.append(f"launch of {last.ray_node_type_name} failed: {' '.join(str(last.details).split())[:160]}")
    return ", ".join(parts)
