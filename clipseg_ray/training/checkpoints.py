"""Where training can go on: everything the next step depends on, as one object at any URL."""

from __future__ import annotations

import io
from typing import Any

import torch

from clipseg_ray.errors import UserError, brief
from clipseg_ray.model.weights import unpickled
from clipseg_ray.storage import Store, plain_errors

FOLDER = "checkpoints"
_KEPT = 2


class Checkpoints:
    """The checkpoints below a store, named by the number of steps done; the last two are kept."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def latest(self) -> tuple[int, dict[str, Any]] | None:
        """Steps done and state of the newest; None where there is none."""
        with plain_errors(self._store.url_of(FOLDER)):
            names = self._names()
            if not names:
                return None
            data = self._store.get(names[-1])
        try:
            state = unpickled(io.BytesIO(data), names[-1])
        except Exception as error:
            raise UserError(
                f"{self._store.url_of(names[-1])}: no training checkpoint ({brief(error, 200)}); remove it"
            ) from error
        return int(names[-1].removesuffix(".pt").rpartition("-")[2]), state

    def put(self, steps: int, state: dict[str, Any]) -> None:
        """Keep the state after so many steps; older ones go."""
        sink = io.BytesIO()
        torch.save(state, sink)
        with plain_errors(self._store.url_of(FOLDER)):
            self._store.put(f"{FOLDER}/step-{steps:09d}.pt", sink.getvalue())
            for name in self._names()[:-_KEPT]:
                self._store.delete(name)

    def _names(self) -> list[str]:
        return sorted(entry.path for entry in self._store.list(FOLDER) if entry.path.endswith(".pt"))
