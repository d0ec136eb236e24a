"""Ids for the rows of a table that give none: their words, and a hash where two rows would share one."""

import re
from collections import Counter
from collections.abc import Sequence

from clipseg_ray.queries.expression import text_of
from clipseg_ray.queries.naming import PHRASE
from clipseg_ray.queries.query import Query, definition_digest
from clipseg_ray.queries.table_checks import Draft

_LONGEST = 40


class MadeIds:
    """The ids of a table's queries. They hang on what the table has, not on the order of its rows nor on thresholds:
    the same question at another threshold is a changed query, not a new one."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        rows = Counter(draft.query_id or _words_of(draft) for draft in drafts)
        self._shared = {name for name, count in rows.items() if count > 1}

    def of(self, draft: Draft, query: Query) -> str:
        """The id of a row's query, of a sweep of alpha what stands before ``@``; the row's own where it gives one."""
        if draft.query_id:
            return draft.query_id
        words = _words_of(draft)
        if words not in self._shared:
            return words
        asked = {"expression": query.words} if query.expression is not None else query.prompt_definition()
        if draft.sweep:
            asked.pop("alpha", None)
        return f"{words}-{definition_digest(asked)[:8]}"


def _words_of(draft: Draft) -> str:
    words = text_of(draft.expression) if draft.expression is not None else (draft.texts or ("picture",))[0]
    name = re.sub(r"[\W_]+", "-", words.casefold()).strip("-")[:_LONGEST].rstrip("-") or "query"
    return f"query-{name}" if f"{name}-".startswith(PHRASE) else name
