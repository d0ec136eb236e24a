"""The name of a prompt set, and the ids that no query of a table may have."""

import hashlib
import json
from collections.abc import Sequence
from typing import Protocol

FROM, PHRASE = "from:", "phrase-"
"""How ids begin that stand for phrases which came with the images, for all under one field and for one of them."""


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
