"""YAML as settings and query tables may be written: no aliases, so many nodes, so deep, and plain data alone."""

from __future__ import annotations

from typing import Any

import yaml

DEPTH = 50
NODES = 200_000
"""Keys and values of a text: a table of twenty thousand queries has about as many."""


class Loader(yaml.SafeLoader):
    """What ``load`` reads with: settings and tables are written out, and what is not may grow to any size."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node, unless it is an alias, one too many or too deep."""
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not read; write the value out", mark)
        self._nodes += 1
        self._depth += 1
        if self._nodes > NODES:
            raise yaml.composer.ComposerError(None, None, f"more than {NODES} keys and values", mark)
        if self._depth > DEPTH:
            raise yaml.composer.ComposerError(None, None, f"nested deeper than {DEPTH} levels", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def load(text: str, loader: type[Loader] = Loader) -> Any:
    """The text's one document as plain data. Raises ``yaml.YAMLError`` for all that it is not."""
    try:
        return yaml.load(text, loader)
    except (ValueError, OverflowError, RecursionError) as error:  # a date or number that is none
        raise yaml.YAMLError(str(error)) from error
