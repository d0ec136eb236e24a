"""What was given of a shard so far: image ids that come twice, and samples whose members come apart."""

from __future__ import annotations

import hashlib

from clipseg_ray.sources.base import Sample, Shard, Source


class Occurrences:
    """Counts the samples of one shard; of an id 16 bytes are kept, of a sample's key 8.

    ``repeated``: the ids that came more than once, in the order they did so first.
    """

    def __init__(self, source: Source, shard: Shard) -> None:
        self.repeated: dict[str, None] = {}
        self._source = source
        self._shard = shard
        self._ids: set[bytes] = set()
        self._made_of: dict[int, tuple[str, ...]] = {}
        self._kinds: dict[tuple[str, ...], tuple[str, ...]] = {}

    def add(self, sample: Sample) -> None:
        """Count one more. Raises UserError for one that was given before and now comes with other members.

        Were it given as one more sample, the first would lack what this one brings: its id, its phrases, its image.
        """
        digest = hashlib.blake2b(sample.image_id.encode(), digest_size=16).digest()
        if digest in self._ids:
            self.repeated[sample.image_id] = None
        self._ids.add(digest)
        if not sample.made_of:
            return
        key, names = sample.made_of
        kind = self._kinds.setdefault(names, names)
        before = self._made_of.setdefault(hash(key), kind)
        if kind is not before and not set(kind) <= set(before):
            raise self._source.torn(self._shard, sample)
