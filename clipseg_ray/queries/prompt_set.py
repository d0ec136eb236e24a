"""A prompt set: the queries of a run with the vectors the decoder is given, named by what they are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from clipseg_ray.masks.competition import Competition, Contest
from clipseg_ray.masks.logit import logit_of
from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.model.embedding import embed_images, embed_texts, one_thread
from clipseg_ray.queries.composition import compose_support
from clipseg_ray.queries.contests import contests_of
from clipseg_ray.queries.expression import parse, text_of
from clipseg_ray.queries.modes import parse_mode
from clipseg_ray.queries.naming import set_name
from clipseg_ray.queries.others import resolved
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

COMPETING = pa.schema(
    [
        _column("suppress", pa.list_(pa.string()), "queries above whose logits its own must be"),
        _column("group", pa.string(), "the group in which it competes for each pixel", nullable=True),
        _column("weight", pa.float64(), "its weight in the group"),
        _column("place", pa.int32(), "its place among the group's members, from 0; ties go to the first"),
        _column("expression", pa.string(), "what it is of other queries: AND, OR, NOT over query_ids", nullable=True),
        _column("keep", pa.bool_(), "whether its masks are written"),
    ]
)
"""Further columns, only in the files of sets with a query that competes, combines or is not written."""

_COMPOSED_AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class PromptSet:
    """Queries and their conditionals.

    name: ``ps-`` and 16 hex digits over the sorted (query_id, digest) pairs. members: all queries of the set, written
    or not, sorted by query_id, each id once. conditionals_qc: float32 [prompts, c], un-normalised CLIP projections, in
    the order of ``prompts``.
    """

    name: str
    members: tuple[Query, ...]
    conditionals_qc: np.ndarray

    @classmethod
    def of(cls, queries: Sequence[Query], conditionals_qc: np.ndarray) -> "PromptSet":
        """The set of `queries` with the conditionals [prompts, c] of those that are prompts, in the same order.

        Raises ValueError on equal ids.
        """
        row_of = {query.query_id: row for row, query in enumerate(query for query in queries if query.is_prompt)}
        ordered = tuple(sorted(queries, key=lambda query: query.query_id))
        if len({query.query_id for query in ordered}) != len(ordered):
            raise ValueError("a prompt set holds each query_id once")
        rows = [row_of[query.query_id] for query in ordered if query.is_prompt]
        return cls(set_name(ordered), ordered, np.asarray(conditionals_qc, np.float32)[rows])

    @cached_property
    def prompts(self) -> tuple[Query, ...]:
        """Those with a conditional, written or not, sorted by query_id."""
        return tuple(query for query in self.members if query.is_prompt)

    @cached_property
    def queries(self) -> tuple[Query, ...]:
        """Those whose masks are written, sorted by query_id."""
        return tuple(query for query in self.members if query.keep)

    @cached_property
    def alone(self) -> tuple[int, ...]:
        """For each of ``queries`` its place among ``prompts`` if its masks are that prompt's, else -1: a contest's."""
        place = {query.query_id: index for index, query in enumerate(self.prompts)}
        return tuple(place[query.query_id] if query.is_alone else -1 for query in self.queries)

    @cached_property
    def contests(self) -> tuple[Contest, ...]:
        """What decides the queries that are not alone. Raises ValueError where one that they name is no member."""
        return contests_of(self.members)

    @cached_property
    def competition(self) -> Competition | None:
        """What the engine is told of all this; None where every prompt is a query."""
        plain = not self.contests and len(self.prompts) == len(self.queries)
        return None if plain else Competition(self.contests, self.alone)

    @property
    def threshold_logits_q(self) -> np.ndarray:
        """float32 [queries]: log(t / (1 − t)); a pixel whose logit is above it belongs to the mask."""
        return logit_of(np.array([query.threshold for query in self.queries])).astype(np.float32)

    def to_table(self) -> pa.Table:
        """The set as a table of `SCHEMA`, followed by `COMPETING` where needed: all of it but the pictures' bytes."""
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
                "suppress": list(query.suppress),
                "group": query.group,
                "weight": query.weight,
                "place": query.place,
                "expression": None if query.expression is None else text_of(query.expression),
                "keep": query.keep,
            }
            for query in self.members
        ]
        plain = all(query.is_alone and query.keep for query in self.members)
        schema = SCHEMA if plain else pa.schema([*SCHEMA, *COMPETING])
        without = pa.schema([field for field in schema if field.name != "conditional"])
        table = pa.Table.from_pylist(rows, without)
        width = self.conditionals_qc.shape[1]
        lengths = [width if query.is_prompt else 0 for query in self.members]
        offsets = pa.array(np.cumsum([0, *lengths], dtype=np.int32))
        values = pa.array(np.ascontiguousarray(self.conditionals_qc).reshape(-1))
        vectors = pa.ListArray.from_arrays(offsets, values, type=schema.field("conditional").type)
        position = schema.get_field_index("conditional")
        return table.add_column(position, schema.field("conditional"), vectors).cast(schema)

    @classmethod
    def from_table(cls, table: pa.Table) -> "PromptSet":
        """The inverse of `to_table`. Raises ValueError when a row's digest is not that of its definition."""
        rows = table.drop_columns(["conditional"]).to_pylist()
        queries = resolved([_query(row) for row in rows])
        for query, row in zip(queries, rows, strict=True):
            if query.digest() != row["digest"]:
                raise ValueError(f"query {query.query_id!r}: its digest does not fit its definition")
        prompts = sum(query.is_prompt for query in queries)
        values = table["conditional"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return cls.of(queries, values.reshape(prompts, -1))


@one_thread()
def embed(queries: Sequence[Query], checkpoint: Checkpoint) -> np.ndarray:
    """The conditionals of those of `queries` that are prompts, in their order: float32 [prompts, c], un-normalised.

    ``alpha · picture + (1 − alpha) · text``, where text is the mean projection over the query's prompts and picture
    that over its supports. Each distinct prompt and composed picture is embedded once.
    """
    queries = [query for query in queries if query.is_prompt]
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
    """A query of a row, not resolved; the columns of `COMPETING` may be absent."""
    expression = row.get("expression")
    return Query(
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
        suppress=tuple(row.get("suppress", ())),
        group=row.get("group"),
        weight=row.get("weight", 1.0),
        place=row.get("place", 0),
        expression=None if expression is None else parse(expression),
        keep=row.get("keep", True),
    )
