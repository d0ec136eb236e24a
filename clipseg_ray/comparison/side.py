"""One of the two things compared: a dataset, or one prompt set of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clipseg_ray.errors import UserError, meant
from clipseg_ray.report import asked
from clipseg_ray.report.asked import DescribedQuery
from clipseg_ray.results import layout, record, sets
from clipseg_ray.results.chunk_tables import ChunkTables
from clipseg_ray.results.record import DatasetRecord
from clipseg_ray.storage import Store, plain_errors


@dataclass(frozen=True, kw_only=True)
class Side:
    """A dataset and those of its queries that are compared.

    url: as it was given. definitions: by query id, everything that changes the query's masks, as JSON values. gaps:
    (prompt set, shard id, chunk) of chunks whose images are there and whose masks of the set are not.
    """

    url: str
    store: Store
    record: DatasetRecord
    queries: tuple[DescribedQuery, ...]
    definitions: dict[str, dict[str, Any]]
    gaps: tuple[tuple[str, str, int], ...]

    @classmethod
    def of(cls, url: str) -> Side:
        """The dataset at ``url``, or one prompt set of it by its folder: ``OUTPUT/masks/set=ps-…``.

        Raises UserError where there is none, or nothing written yet.
        """
        place, prompt_set = layout.dataset_and_set(url)
        store = Store.of(place)
        with plain_errors(store.url):
            made, claimed = record.require(store), sets.read(store)
            queries = asked.described_queries(store)
            if prompt_set is not None:
                queries = [query for query in queries if query.prompt_set == prompt_set]
                if not queries:
                    there = [layout.masks_folder(each.name) for each in claimed]
                    raise UserError(f"{url}: no such prompt set; {meant(layout.masks_folder(prompt_set), there)}")
            folders = list(dict.fromkeys(layout.masks_folder(query.prompt_set) for query in queries))
            parts = ChunkTables(store, made).index([layout.IMAGES, *folders])
        if not any(parts.count(folder) for folder in folders):
            raise UserError(f"{url}: nothing has been written yet; see clipseg-ray status {store.url}")
        gaps = tuple(
            (layout.set_of_folder(folder), shard_id, chunk)
            for folder in folders
            for shard_id, chunk in parts.chunks(layout.IMAGES)
            if not parts.bits(folder, shard_id) >> chunk & 1
        )
        definitions = {query_id: values for each in claimed for query_id, values in each.definitions.items()}
        return cls(url=url, store=store, record=made, queries=tuple(queries), definitions=definitions, gaps=gaps)

    @property
    def keeps_empty(self) -> bool:
        """Whether empty masks have rows; else a row that is not there is an empty mask."""
        return bool(self.record.masks["keep_empty"])
