"""Phrases that come with the images, put before the model: their conditionals, and their row of the queries table."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.model.embedding import embed_texts, token_counts
from clipseg_ray.queries.inspection import CLIP_TOKENS
from clipseg_ray.queries.phrase_set import PhraseSet
from clipseg_ray.queries.prompt_set import SCHEMA

REMEMBERED = 20_000
"""Phrases an embedder keeps: 40 MB at 512 numbers each."""


def to_table(phrase_set: PhraseSet) -> pa.Table:
    """The set's one row of ``queries/<set>.parquet``; the phrases themselves are in ``masks.query_text``."""
    row = {
        "query_id": phrase_set.query_id,
        "prompt_set": phrase_set.name,
        "kind": "phrase",
        "texts": [],
        "templates": list(phrase_set.templates),
        "threshold": phrase_set.threshold,
        "supports": [],
        "concept": [],
        "digest": phrase_set.digest(),
        "conditional": [],
        "columns": "{}",
    }
    return pa.Table.from_pylist([row], SCHEMA)


class PhraseEmbedder:
    """Conditionals of phrases, each embedded once while it is remembered."""

    def __init__(self, checkpoint: Checkpoint, phrase_set: PhraseSet, remembered: int = REMEMBERED) -> None:
        self._checkpoint = checkpoint
        self._templates = phrase_set.templates
        self._remembered = remembered
        self._known: OrderedDict[str, np.ndarray] = OrderedDict()
        self._cut: dict[str, int] = {}  # of those that are known

    def cut(self, texts: Iterable[str]) -> dict[str, int]:
        """Those of the texts, embedded before, that CLIP cannot read to their end, and how many tokens they have."""
        return {text: self._cut[text] for text in texts if text in self._cut}

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, c]: for each text the mean projection over its templates, un-normalised."""
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        prompts = [template.replace("{}", text) for text in new for template in self._templates]
        counts = np.reshape(token_counts(self._checkpoint, prompts), (len(new), len(self._templates)))
        self._cut |= {
            text: int(most) for text, most in zip(new, counts.max(axis=1, initial=0), strict=True) if most > CLIP_TOKENS
        }
        vectors = embed_texts(self._checkpoint, prompts)
        fresh = vectors.reshape(len(new), len(self._templates), vectors.shape[1]).mean(axis=1, dtype=np.float64)
        known = {text: self._known[text] for text in texts if text in self._known}
        known |= dict(zip(new, fresh.astype(np.float32), strict=True))
        for text in texts:
            self._known[text] = known[text]
            self._known.move_to_end(text)
        while len(self._known) > self._remembered:
            self._cut.pop(self._known.popitem(last=False)[0], None)
        if not texts:
            return np.empty((0, vectors.shape[1]), np.float32)
        return np.stack([known[text] for text in texts])
