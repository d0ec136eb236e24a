"""The thread that reports how far a run is, from its start to its end and whatever the run is doing."""

from __future__ import annotations

import threading
import time
from typing import Any

from clipseg_ray.errors import last_line
from clipseg_ray.pipeline.progress import Reporter
from clipseg_ray.pipeline.prometheus import Prometheus
from clipseg_ray.results import driver_process, runs
from clipseg_ray.results.status import RUNNING
from clipseg_ray.storage import Store

_TICK_S = 1.0


class Heartbeat:
    """Writes the run's status file and its metrics until ``end``.

    ``about``: what the status file says of the run besides the reporter's own values (JSON values).
    """

    def __init__(self, store: Store, reporter: Reporter, about: dict[str, Any]) -> None:
        self._store = store
        self._reporter = reporter
        self._about = {**about, "process": driver_process.identity()}
        self._metrics = Prometheus(store.url, reporter.run_id)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beats, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._beat(RUNNING)  # before the first chunk, so that a run cut off here is known too
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop()

    def end(self, state: str, message: str) -> None:
        """The last heartbeat: how the run ended."""
        self._stop()
        self._reporter.ended()
        self._beat(state, message)

    def _stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _beats(self) -> None:
        while not self._stopped.wait(_TICK_S):
            if self._reporter.heartbeat():
                self._beat(RUNNING)
            else:
                self._metrics.emit(self._reporter)

    def _beat(self, state: str, message: str = "") -> None:
        status = {
            **self._about,
            **self._reporter.snapshot(),
            "state": state,
            "message": message,
            "time": time.time(),
        }
        try:
            runs.write_status(self._store, self._reporter.run_id, status)
        except Exception as error:  # a heartbeat that cannot be written must not stop the run, nor the next one
            self._reporter.say(f"the status could not be written: {last_line(error)}")
        self._metrics.emit(self._reporter)
