"""The name of a prompt set."""

import hashlib
import json
from collections.abc import Sequence
from typing import Protocol


class Named(Protocol):
    """What a set's name is made of."""

    @property
    def query_id(self) -> str: ...

    def digest(self) -> str:
        """Hex digest of everything that changes a mask."""


def set_name(queries: Sequence[Named]) -> str:
    """``ps-`` and 16 hex digits: SHA-256 over the sorted (query_id, digest) pairs."""
    pairs = sorted([query.query_id, query.digest()] for query in queries)
    return f"ps-{hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16]}"
