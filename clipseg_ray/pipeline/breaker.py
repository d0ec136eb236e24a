"""When a run gives up: so many chunks in a row, or so large a share of them, cannot be a few bad chunks."""

from __future__ import annotations

IN_A_ROW = 10
SHARE, SHARE_AFTER = 0.2, 50


class RunStopped(Exception):
    """The run gave up early, for the reason given."""


class Breaker:
    """Counts how chunks end. ``reason`` is set once it is time to stop; ``check`` then raises RunStopped."""

    def __init__(self) -> None:
        self.tried = self.failed = 0
        self.causes: list[str] = []
        self.reason: str | None = None
        self._in_a_row = 0
        self._hosts_gone = False

    def succeeded(self) -> None:
        """A chunk has its parts."""
        self.tried += 1
        self._in_a_row = 0

    def shard_unread(self, cause: str) -> None:
        """A shard could not be read: one object's fault, quickly detected, and no sign that the others fail too."""
        self.causes.append(cause)

    def chunk_failed(self, cause: str, *, hosts_gone: bool = False) -> None:
        """A chunk has none.

        ``hosts_gone``: images of it cannot be had, though the network is there. The web is full of hosts that are gone:
        however many chunks fail for them, they are one event, and no sign that the rest of the input cannot be read.
        """
        self.causes.append(cause)
        self.tried += 1
        if hosts_gone and self._hosts_gone:
            return
        self._hosts_gone |= hosts_gone
        self.failed += 1
        self._in_a_row += 1
        many = self.tried >= SHARE_AFTER and self.failed > SHARE * self.tried
        if self._in_a_row >= IN_A_ROW or many:
            self.reason = f"Stopped after {self.failed} failed chunk(s) of {self.tried}; the last cause: {cause}."

    def check(self) -> None:
        """Raise RunStopped if it is time."""
        if self.reason is not None:
            raise RunStopped(self.reason)
