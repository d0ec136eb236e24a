"""Encoded images found again by what the images table says of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from clipseg_ray.sources.base import Place, Sample, Shard, Source
from clipseg_ray.sources.images import FETCH_BYTES, FETCH_IMAGES, patiently
from clipseg_ray.storage import StaleObject


def fetch(source: Source, images: pa.Table) -> Iterator[bytes | Exception]:
    """The encoded image of each row, in order, a few at a time; an exception stands where one cannot be had.

    images: rows of the images table, with at least ``source_url``, ``key``, ``offset`` and ``length``. Rows without a
    length never had an image and give FileNotFoundError; an image that is not as long as it was gives StaleObject.

    Files, plain tars and Parquet are read where the images lie. Compressed tars are read from the start: give their
    rows in the order of the images table, or every few rows cost a pass.
    """
    rows = images.select(["source_url", "key", "offset", "length"]).to_pylist()
    places = [
        Place(url=row["source_url"], key=row["key"], offset=row["offset"], length=row["length"] or 0) for row in rows
    ]
    passes = _Pass(source)
    for window in _windows(places):
        asked = [index for index, place in enumerate(window) if place.length]
        found: list[bytes | Exception | None] = [
            FileNotFoundError(f"{place.url}: no picture {place.key}") for place in window
        ]
        for index, image in zip(asked, _fetch(source, [window[index] for index in asked]), strict=True):
            found[index] = image
        passes.fill(window, found)
        for place, image in zip(window, found, strict=True):
            assert image is not None
            if isinstance(image, bytes) and len(image) != place.length:
                image = StaleObject(f"{place.url}: {place.key} had {place.length} bytes, now {len(image)}")
            yield image


def _windows(places: Sequence[Place]) -> Iterator[list[Place]]:
    window: list[Place] = []
    for place in places:
        if len(window) == FETCH_IMAGES or sum(each.length for each in window) + place.length > FETCH_BYTES:
            yield window
            window = []
        window.append(place)
    if window:
        yield window


def _fetch(source: Source, places: Sequence[Place]) -> list[bytes | Exception | None]:
    return patiently(lambda asked: source.fetch([places[index] for index in asked]), [place.url for place in places])


class _Pass:
    """The shard being read front to back, kept open for the windows to come."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._url = ""
        self._samples: Iterator[Sample] = iter(())

    def fill(self, places: Sequence[Place], found: list[bytes | Exception | None]) -> None:
        """Put the image, or why there is none, wherever ``found`` has None."""
        wanted: dict[str, dict[tuple[str, int], list[int]]] = {}
        for index, place in enumerate(places):
            if found[index] is None:
                wanted.setdefault(place.url, {}).setdefault((place.key, place.length), []).append(index)
        for url, keys in wanted.items():
            try:
                self._find(url, keys, found)
            except Exception as error:
                self._url = ""
                for index in (index for indices in keys.values() for index in indices):
                    found[index] = found[index] or error

    def _find(self, url: str, keys: dict[tuple[str, int], list[int]], found: list[bytes | Exception | None]) -> None:
        left = dict(keys)
        fresh = url != self._url
        while left:
            if fresh:
                self._url, self._samples = url, self._source.samples(Shard.at(url))
            for sample in self._samples:
                for index in left.pop((sample.key, sample.length or 0), ()):
                    found[index] = sample.image
                if not left:
                    return
            if fresh:  # a whole pass has not found them
                for key, _ in left:
                    raise StaleObject(f"{url}: {key} is not in it as it was")
            fresh = True
