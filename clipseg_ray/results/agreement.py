"""Whether the parts of each chunk were made of the same images and with the record's settings, by their metadata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from clipseg_ray.results import layout, own_files, parts, record, sets
from clipseg_ray.storage import Entry, Store, plain_errors

_AT_ONCE = 1024


def disagreeing(output: str) -> tuple[str, ...]:
    """Masks parts of other images or statuses than their chunk's images part has, or of other settings than the record.

    Reads the end of every part. Raises UserError where no dataset is.
    """
    store = Store.of(output)
    fingerprint = record.require(store).fingerprint
    with plain_errors(store.url):
        # Masks are listed before images, which runs put first: each has its images listed too.
        masks = [
            entry for item in sets.read(store) for entry in own_files.listed(store, layout.masks_folder(item.name))
        ]
        listed = list(own_files.listed(store, layout.IMAGES))
        images = {_place(entry.path): own for entry, own in _hashes(store, listed, fingerprint)}
        return tuple(
            entry.path
            for entry, own in _hashes(store, masks, fingerprint)
            if (place := _place(entry.path)) in images and (own is None or own != images[place])
        )


def _place(path: str) -> tuple[str, int] | None:
    return layout.parse_part_name(path.rpartition("/")[2])


def _hashes(store: Store, listed: Sequence[Entry], fingerprint: str) -> Iterator[tuple[Entry, str | None]]:
    """Each part with the hash of its images; None where it is of other settings, or cannot be read."""
    for start in range(0, len(listed), _AT_ONCE):
        near = listed[start : start + _AT_ONCE]
        for entry, facts in zip(near, parts.read_facts(store, near), strict=True):
            yield entry, facts.get(parts.IMAGES_HASH) if facts.get("fingerprint") == fingerprint else None
