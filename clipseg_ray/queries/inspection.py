"""A look at queries before a run: what each becomes, what is cut off, what is asked twice."""

import io
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.model.embedding import token_counts
from clipseg_ray.pixels.preprocessing import Preprocessing
from clipseg_ray.queries.composition import compose_support
from clipseg_ray.queries.query import Query
from clipseg_ray.storage import Store, plain_errors

CLIP_TOKENS = 77
"""Tokens that CLIP's text tower reads, start and end included."""

NEAR = 0.98
"""Cosine of two conditionals from which their queries are called near-duplicates."""


@dataclass(frozen=True)
class Described:
    """What a query becomes.

    prompts: the final wordings. tokens: of each prompt, start and end included; empty without a model. pictures:
    the supports' URLs. duplicates: ids of queries with equal digests. near_duplicates: ids and cosines of others
    whose conditionals are almost parallel; empty without a model.
    """

    query_id: str
    kind: str
    prompts: tuple[str, ...]
    tokens: tuple[int, ...]
    pictures: tuple[str, ...]
    mode: str | None
    alpha: float | None
    threshold: float
    duplicates: tuple[str, ...]
    near_duplicates: tuple[tuple[str, float], ...]


def count_tokens(queries: Sequence[Query], checkpoint: Checkpoint) -> dict[str, int]:
    """Tokens of every distinct prompt, start and end included, before truncation."""
    prompts = list(dict.fromkeys(prompt for query in queries for prompt in query.prompts))
    return dict(zip(prompts, token_counts(checkpoint, prompts), strict=True))


def warnings(queries: Sequence[Query], token_counts: Mapping[str, int]) -> list[str]:
    """One line for each prompt that CLIP cannot read to its end; `token_counts` by prompt."""
    return [
        f"query {query.query_id!r}: the prompt {_short(prompt)!r} has {token_counts[prompt]} tokens; CLIP reads "
        f"{CLIP_TOKENS}, so it is truncated and its last {token_counts[prompt] - CLIP_TOKENS} are ignored; shorten it"
        for query in queries
        for prompt in query.prompts
        if token_counts[prompt] > CLIP_TOKENS
    ]


def describe(
    queries: Sequence[Query],
    token_counts: Mapping[str, int] | None = None,
    conditionals_qc: np.ndarray | None = None,
) -> list[Described]:
    """One entry per query, in order. Without a model's token counts and conditionals their fields stay empty."""
    by_digest: dict[str, list[str]] = defaultdict(list)
    digests = [query.digest() for query in queries]
    for query, digest in zip(queries, digests, strict=True):
        by_digest[digest].append(query.query_id)
    near = _near(queries, conditionals_qc) if conditionals_qc is not None else {}
    described = []
    for query, digest in zip(queries, digests, strict=True):
        equal = tuple(other for other in by_digest[digest] if other != query.query_id)
        described.append(
            Described(
                query_id=query.query_id,
                kind=query.kind,
                prompts=query.prompts,
                tokens=tuple(token_counts[prompt] for prompt in query.prompts) if token_counts else (),
                pictures=tuple(support.url for support in query.supports),
                mode=None if query.mode is None else str(query.mode),
                alpha=query.alpha,
                threshold=query.threshold,
                duplicates=equal,
                near_duplicates=tuple(
                    (other, cosine) for other, cosine in near.get(query.query_id, ()) if other not in equal
                ),
            )
        )
    return described


def render(queries: Sequence[Query], preprocessing: Preprocessing, directory: str) -> list[str]:
    """Write what the model will see of each query's pictures: one PNG per support at `directory` (path or URL).

    Returns the URLs written, ``<query_id>-<n>.png``, in the order of the queries.
    """
    store = Store.of(directory)
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    written = []
    for query in queries:
        stem = re.sub(r"[^\w@.+-]+", "-", query.query_id)
        for number, support in enumerate(query.supports, 1):
            pixels_hwc = compose_support(support, query.mode, preprocessing).transpose(1, 2, 0) * std + mean
            levels_hwc = np.rint(pixels_hwc / preprocessing.rescale).clip(0, 255).astype(np.uint8)
            png = io.BytesIO()
            Image.fromarray(levels_hwc).save(png, "PNG")
            name = f"{stem}-{number}.png"
            with plain_errors(store.url_of(name)):
                store.put(name, png.getvalue())
            written.append(store.url_of(name))
    return written


def _near(queries: Sequence[Query], conditionals_qc: np.ndarray) -> dict[str, list[tuple[str, float]]]:
    vectors_qc = conditionals_qc / np.linalg.norm(conditionals_qc, axis=1, keepdims=True)
    near: dict[str, list[tuple[str, float]]] = {}
    for index, query in enumerate(queries):
        cosines = vectors_qc @ vectors_qc[index]
        cosines[index] = -1
        near[query.query_id] = [
            (queries[other].query_id, float(cosines[other])) for other in np.flatnonzero(cosines >= NEAR).tolist()
        ]
    return near


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"
