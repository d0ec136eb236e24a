"""A prompt set: the queries of a run with the vectors the decoder is given, named by what they are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from clipseg_ray.masks.logit import logit_of
from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.model.embedding import embed_images, embed_texts, one_thread
from clipseg_ray.queries.composition import compose_support
from clipseg_ray.queries.modes import parse_mode
from clipseg_ray.queries.naming import set_name
from clipseg_ray.queries.query import Query
from clipseg_ray.queries.supports import Support
from clipseg_ray.redaction import redacted

_SUPPORT = pa.struct(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("picture_sha256", pa.string(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("counts", pa.string()),
    ]
)


def _column(name: str, kind: pa.DataType, doc: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable, metadata={"description": doc})


SCHEMA = pa.schema(
    [
        _column("query_id", pa.string(), "the query's name, unique in the output"),
        _column("kind", pa.string(), "object, part, affordance, attribute, phrase, …"),
        _column("texts", pa.list_(pa.string()), "wordings; empty when the query is pictures only"),
        _column("templates", pa.list_(pa.string()), "sentences each text was put into at {}"),
        _column("threshold", pa.float64(), "probability above which a pixel belongs to the mask"),
        _column("supports", pa.list_(_SUPPORT), "pictures of the query, each with its mask as COCO RLE"),
        _column("mode", pa.string(), "how picture and mask became one picture, with all parameters", nullable=True),
        _column("alpha", pa.float64(), "the pictures' share in a blend of texts and pictures", nullable=True),
        _column("concept", pa.list_(pa.string()), "categories the query should match, for evaluation"),
        _column("digest", pa.string(), "SHA-256 over everything that changes a mask"),
        _column("conditional", pa.list_(pa.float32()), "the vector the decoder is given, not normalised"),
        _column("columns", pa.string(), "JSON object of the query table's further columns"),
        _column("prompt_set", pa.string(), "the set it is computed with"),
    ]
)
"""The columns of ``queries/<set>.parquet``."""

_COMPOSED_AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class PromptSet:
    """Queries and their conditionals.

    name: ``ps-`` and 16 hex digits over the sorted (query_id, digest) pairs. queries: sorted by query_id, each id
    once. conditionals_qc: float32 [q, c], un-normalised CLIP projections, in the order of the queries.
    """

    name: str
    queries: tuple[Query, ...]
    conditionals_qc: np.ndarray

    @classmethod
    def of(cls, queries: Sequence[Query], conditionals_qc: np.ndarray) -> "PromptSet":
        """The set of `queries` with their conditionals [q, c] in the same order. Raises ValueError on equal ids."""
        order = sorted(range(len(queries)), key=lambda index: queries[index].query_id)
        ordered = tuple(queries[index] for index in order)
        if len({query.query_id for query in ordered}) != len(ordered):
            raise ValueError("a prompt set holds each query_id once")
        return cls(set_name(ordered), ordered, np.asarray(conditionals_qc, np.float32)[order])

    @property
    def threshold_logits_q(self) -> np.ndarray:
        """float32 [q]: log(t / (1 − t)); a pixel whose logit is above it belongs to the mask."""
        return logit_of(np.array([query.threshold for query in self.queries])).astype(np.float32)

    def to_table(self) -> pa.Table:
        """The set as a table of `SCHEMA`: all of it but the pictures' bytes."""
        rows = [
            {
                "query_id": query.query_id,
                "prompt_set": self.name,
                "kind": query.kind,
                "texts": list(query.texts),
                "templates": list(query.templates),
                "threshold": query.threshold,
                "supports": [
                    {field.name: getattr(support, field.name) for field in _SUPPORT} for support in query.supports
                ],
                "mode": None if query.mode is None else str(query.mode),
                "alpha": query.alpha,
                "concept": list(query.concept),
                "digest": query.digest(),
                "columns": redacted(json.dumps(query.columns, default=str, ensure_ascii=False)),
            }
            for query in self.queries
        ]
        without = pa.schema([field for field in SCHEMA if field.name != "conditional"])
        table = pa.Table.from_pylist(rows, without)
        width = self.conditionals_qc.shape[1]
        offsets = pa.array(np.arange(len(rows) + 1, dtype=np.int32) * width)
        values = pa.array(np.ascontiguousarray(self.conditionals_qc).reshape(-1))
        vectors = pa.ListArray.from_arrays(offsets, values, type=SCHEMA.field("conditional").type)
        position = SCHEMA.get_field_index("conditional")
        return table.add_column(position, SCHEMA.field("conditional"), vectors).cast(SCHEMA)

    @classmethod
    def from_table(cls, table: pa.Table) -> "PromptSet":
        """The inverse of `to_table`. Raises ValueError when a row's digest is not that of its definition."""
        vectors = table["conditional"].combine_chunks()
        conditionals_qc = vectors.flatten().to_numpy(zero_copy_only=False).reshape(table.num_rows, -1)
        rows = table.drop_columns(["conditional"]).to_pylist()
        return cls.of([_query(row) for row in rows], conditionals_qc)


@one_thread()
def embed(queries: Sequence[Query], checkpoint: Checkpoint) -> np.ndarray:
    """The conditionals of `queries`: float32 [q, c], un-normalised.

    ``alpha · picture + (1 − alpha) · text``, where text is the mean projection over the query's prompts and picture
    that over its supports. Each distinct prompt and composed picture is embedded once.
    """
    prompts = list(dict.fromkeys(prompt for query in queries for prompt in query.prompts))
    texts_tc = embed_texts(checkpoint, prompts)
    row_of = {prompt: row for row, prompt in enumerate(prompts)}
    pictures = _embed_pictures(queries, checkpoint)
    conditionals_qc = np.zeros((len(queries), texts_tc.shape[1]), np.float32)
    for index, query in enumerate(queries):
        share = query.picture_share
        vector_c = np.zeros(texts_tc.shape[1])
        if query.texts:
            rows = [row_of[prompt] for prompt in query.prompts]
            vector_c += (1 - share) * texts_tc[rows].mean(axis=0, dtype=np.float64)
        if query.supports:
            found = [pictures[_picture_key(support, query)] for support in query.supports]
            vector_c += share * np.mean(found, axis=0, dtype=np.float64)
        conditionals_qc[index] = vector_c
    return conditionals_qc


def _picture_key(support: Support, query: Query) -> tuple[str, ...]:
    return (support.picture_sha256, support.counts or "", str(query.mode))


def _embed_pictures(queries: Sequence[Query], checkpoint: Checkpoint) -> dict[tuple[str, ...], np.ndarray]:
    """Projections of the distinct composed pictures, a few pictures in memory at a time."""
    distinct = {_picture_key(support, query): (support, query.mode) for query in queries for support in query.supports}
    keys = list(distinct)
    projections: dict[tuple[str, ...], np.ndarray] = {}
    for start in range(0, len(keys), _COMPOSED_AT_ONCE):
        batch = keys[start : start + _COMPOSED_AT_ONCE]
        pixels_nchw = np.stack([compose_support(*distinct[key], checkpoint.preprocessing) for key in batch])
        projections.update(zip(batch, embed_images(checkpoint, pixels_nchw), strict=True))
    return projections


def _query(row: dict[str, Any]) -> Query:
    query = Query(
        query_id=row["query_id"],
        kind=row["kind"],
        texts=tuple(row["texts"]),
        templates=tuple(row["templates"]),
        threshold=row["threshold"],
        supports=tuple(Support(**support) for support in row["supports"]),
        mode=None if row["mode"] is None else parse_mode(row["mode"]),
        alpha=row["alpha"],
        concept=tuple(row["concept"]),
        columns=json.loads(row["columns"]),
    )
    if query.digest() != row["digest"]:
        raise ValueError(f"query {query.query_id!r}: its digest does not fit its definition")
    return query
