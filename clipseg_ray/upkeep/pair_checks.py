"""Whether a file of masks has the rows of just the pairs that were selected for it."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa

from clipseg_ray.queries.phrase_set import phrase_id


def pair_faults(table: pa.Table, pairs: pa.Table, queries: Collection[str] | None) -> list[str]:
    """Rows that are not the pairs, of queries in a table or (None) of the images' phrases."""
    wanted = set()
    for row in pairs.select(["image_id", "queries", "phrases"]).to_pylist():
        own = map(phrase_id, row["phrases"]) if queries is None else set(queries) & set(row["queries"])
        wanted |= {(row["image_id"], query_id) for query_id in own}
    there = set(zip(*(table.column(name).to_pylist() for name in ("image_id", "query_id")), strict=True))
    faults = []
    for found, what in ((wanted - there, "lacks the row of"), (there - wanted, "has a row that was not selected:")):
        if found:
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            faults.append(f"{what} image {min(found)[0]!r} and query {min(found)[1]!r}{more}")
    return faults
