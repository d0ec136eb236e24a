"""``_inputs/``: the frozen shard listing, appended to by exclusive create and never re-cut."""

from __future__ import annotations

from collections.abc import Callable

from clipseg_ray.results import layout, own_files
from clipseg_ray.sources import listing
from clipseg_ray.sources.base import Shard
from clipseg_ray.storage import Store, get_all, plain_errors


def read(store: Store) -> tuple[list[Shard], int]:
    """The frozen shards in the order they were listed, and the number the next addition will carry."""
    with plain_errors(store.url):
        names = own_files.numbered(store, layout.INPUTS)
        urls = [store.url_of(name) for name in names]
        shards: list[Shard] = []
        for url, data in zip(urls, get_all(urls), strict=True):
            shards += listing.from_parquet(data, url)
    return shards, len(names)


def append(store: Store, additions: Callable[[list[Shard]], list[Shard]]) -> list[Shard]:
    """Freeze what ``additions(frozen)`` finds unseen; where another driver was faster, look again.

    Returns all frozen shards, the new ones last.
    """
    while True:
        frozen, number = read(store)
        new = additions(frozen)
        if not new:
            return frozen
        try:
            with plain_errors(store.url):
                store.create(layout.inputs_file(number), listing.to_parquet(new))
        except FileExistsError:
            continue
        return frozen + new
