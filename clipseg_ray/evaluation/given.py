"""A dataset of masks against truth shards: joined by image and query, at the run's own thresholds.

Masks on another grid than the truth's are resized to it by nearest neighbour: they are already black and white, and a
pixel of the truth takes the pixel of the mask under its centre.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import duckdb
import numpy as np

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.answers import Answers
from clipseg_ray.evaluation.config import EvaluatedMasks, RowConfig
from clipseg_ray.evaluation.metrics import AskedQuery
from clipseg_ray.evaluation.protocols import holds
from clipseg_ray.evaluation.truth import Scene, Thing, TruthSet
from clipseg_ray.masks.rle import decode
from clipseg_ray.results.reading import connect, written_queries
from clipseg_ray.sources.base import Shard
from clipseg_ray.storage import Store

_MASKS = """
SELECT image_id, query_id, score, area, height, width, counts
FROM masks WHERE image_id IN (SELECT unnest(?::VARCHAR[]))
"""
_READ = "SELECT image_id FROM images WHERE status = 'ok' AND image_id IN (SELECT unnest(?::VARCHAR[]))"


class _Row(NamedTuple):
    """One mask as the dataset has it."""

    score: float
    area: int
    height: int
    width: int
    counts: str


_EMPTY = _Row(score=0.0, area=0, height=0, width=0, counts="")


@dataclass(frozen=True)
class GivenMasks:
    """A masks dataset and the truth of its queries: ``things`` by the dataset's query_id. Pickles to workers.

    keep_empty: the run's ``masks.keep_empty``. Where it is off, a query without a row gave an empty mask of unknown
    score, for which 0 is taken.
    """

    url: str
    things: Mapping[str, Thing]
    keep_empty: bool

    def score(self, truth: TruthSet, shard: Shard) -> Answers:
        """Compare the masks of one truth shard's images."""
        answers = Answers()
        with connect(Store.of(self.url)) as connection:
            for scenes in truth.scenes(shard):
                ids = [scene.image_id for scene in scenes]
                read = {row[0] for row in connection.execute(_READ, [ids]).fetchall()}
                rows: dict[str, dict[str, _Row]] = {image_id: {} for image_id in ids}
                for image_id, query_id, *values in connection.execute(_MASKS, [ids]).fetchall():
                    rows[image_id][query_id] = _Row(*values)
                for scene in scenes:
                    if scene.image_id in read:
                        self._compare(scene, rows[scene.image_id], answers)
                    else:
                        answers.images_missing += 1
        return answers

    def _compare(self, scene: Scene, rows: Mapping[str, _Row], answers: Answers) -> None:
        planes, ignored = scene.planes(), scene.ignored()
        for query_id, thing in self.things.items():
            row = rows.get(query_id)
            labels = thing.labels(scene, planes)
            if row is None and self.keep_empty:
                answers.masks_missing += len(labels)
                continue
            row = row or _EMPTY
            mask_wh = _at_size(row, scene) if row.area and labels else None
            for label_wh in labels:
                answers.update(
                    AskedQuery(thing.kind, query_id),
                    mask_hw=mask_wh,
                    label_hw=label_wh,
                    ignore_hw=ignored,
                    score=row.score,
                    size=scene.height * scene.width,
                )


def truth_of(settings: EvaluatedMasks, vocabulary: Mapping[str, Thing]) -> dict[str, Thing]:
    """The truth of each query of the dataset that has one, by the dataset's query_id.

    Phrases that came with the images are left out: they were not asked of every image. Raises UserError where no
    query has a truth, or a mapping names what is not there.
    """
    store = Store.of(settings.url)
    with connect(store) as connection:
        _require_views(connection, settings.url)
        written = written_queries(connection)
        found = connection.execute(f"SELECT query_id, kind, texts, concept FROM {written} ORDER BY query_id").fetchall()
    asked = {query_id: (kind, tuple(texts), tuple(concept)) for query_id, kind, texts, concept in found}
    unknown = [query_id for query_id in settings.queries if query_id not in asked]
    unknown += [query_id for query_id in settings.queries.values() if query_id not in vocabulary]
    if unknown:
        raise UserError(f"masks.queries: {unknown[0]!r} is neither in the dataset {settings.url} nor in the truth")
    names = {name for thing in vocabulary.values() for name in (thing.query_id, *thing.texts)}
    things: dict[str, Thing] = {}
    for query_id, (kind, texts, concept) in asked.items():
        same = vocabulary.get(settings.queries.get(query_id, query_id))
        if settings.match == "concept" and names & set(concept):
            things[query_id] = Thing(query_id, kind, texts, concept)
        elif settings.match == "id" and same is not None:
            things[query_id] = same
    if not things:
        raise UserError(
            f"masks.match: {settings.match}: no query of {settings.url} ({', '.join(list(asked)[:3])}, …) has a truth "
            f"({', '.join(list(vocabulary)[:3])}, …); give masks.queries, or set masks.match"
        )
    return things


def check_rows(rows: Sequence[RowConfig], masks: Mapping[str, GivenMasks]) -> None:
    """Raise UserError for a row about no query of the dataset; ``masks`` by truth set."""
    for row in rows:
        things = masks[row.truth].things
        if not any(holds(row, AskedQuery(thing.kind, query_id)) for query_id, thing in things.items()):
            raise UserError(
                f"row {row.name!r}: none of the dataset's {len(things)} queries with a truth is meant; they are of the "
                f"kinds {', '.join(sorted({thing.kind for thing in things.values()}))}"
            )


def nothing_matches(truth: TruthSet, masks_url: str) -> UserError:
    """What to say where a dataset has masks for none of a truth set's images."""
    scene = next(scenes[0] for shard in truth.shards for scenes in truth.scenes(shard))
    with connect(Store.of(masks_url)) as connection:
        known = connection.execute("SELECT min(image_id) FROM images WHERE status = 'ok'").fetchone()
    return UserError(
        f"masks.url: {masks_url} has masks for none of the truth's images: theirs are named like {scene.image_id!r}, "
        f"the dataset's like {known and known[0]!r}; evaluate on the shards the run read"
    )


def _require_views(connection: duckdb.DuckDBPyConnection, url: str) -> None:
    views = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    missing = {"images", "masks", "queries"} - {view for (view,) in views}
    if missing:
        raise UserError(f"{url}: the dataset has no {', '.join(sorted(missing))}; finish its run first")


def _at_size(row: _Row, scene: Scene) -> np.ndarray:
    """The mask at the truth's size: bool [width, height]."""
    mask_wh = decode([row.counts], row.height, row.width)[0].T
    if (row.height, row.width) == (scene.height, scene.width):
        return mask_wh
    columns, rows = (
        ((np.arange(size) + 0.5) * grid / size).astype(np.int64)
        for size, grid in ((scene.width, row.width), (scene.height, row.height))
    )
    return mask_wh[columns[:, None], rows]
