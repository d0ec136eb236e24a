"""Questions asked of every dataset, as SQL over the views of :mod:`clipseg_ray.results.reading`."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from clipseg_ray.errors import UserError, nearest
from clipseg_ray.queries.naming import FROM, PHRASE
from clipseg_ray.queries.phrase_set import phrase_id
from clipseg_ray.results.mean_coverage import MEAN_COVERAGE
from clipseg_ray.results.reading import literal, written_queries


@dataclass(frozen=True)
class FoundQuery:
    """A query of the dataset: its id in ``masks`` and its threshold."""

    query_id: str
    threshold: float


def find(connection: duckdb.DuckDBPyConnection, url: str, name: str) -> FoundQuery:
    """The query that a person names by its id, or else by its only wording or the phrase that came with images.

    ``connection`` has the views of the dataset at ``url``.

    Raises UserError with the nearest names where there is none, and where a wording is that of several.
    """
    asked = written_queries(connection)
    known = connection.execute(f"SELECT query_id, texts, threshold FROM {asked} ORDER BY query_id").fetchall()
    for query_id, _, threshold in known:
        if name == query_id:
            return FoundQuery(query_id, threshold)
    found = [FoundQuery(query_id, threshold) for query_id, texts, threshold in known if texts == [name]]
    phrase = name if name.startswith(PHRASE) else phrase_id(name)
    of_phrases = [threshold for query_id, _, threshold in known if query_id.startswith(FROM)]
    if of_phrases and _has_rows(connection, phrase):
        found.append(FoundQuery(phrase, of_phrases[0]))
    if len(found) > 1:
        ids = ", ".join(query.query_id for query in found)
        raise UserError(f"'{name}' is the wording of {len(found)} queries in {url}; say which by its id: {ids}")
    if found:
        return found[0]
    names = [query_id for query_id, _, _ in known]
    near = nearest(name, names, most=3) or names[:10]
    more = f" and {len(names) - len(near)} more" if len(names) > len(near) else ""
    raise UserError(f"no query '{name}' in {url}; it has {', '.join(near)}{more}")


def _has_rows(connection: duckdb.DuckDBPyConnection, query_id: str) -> bool:
    statement = f"SELECT 1 FROM masks WHERE query_id = {literal(query_id)} LIMIT 1"
    return connection.execute(statement).fetchone() is not None


def top(query_id: str, limit: int) -> str:
    """The images in which a query has the greatest score."""
    return f"""\
SELECT image_id, round(score::DOUBLE, 3) AS score, round(score_mean::DOUBLE, 3) AS score_mean, area,
       round(coverage::DOUBLE, 4) AS coverage
FROM masks
WHERE query_id = {literal(query_id)}
ORDER BY score DESC, image_id
LIMIT {limit}"""


def borderline(query_id: str, threshold: float, limit: int) -> str:
    """The images whose score is nearest to the threshold: just found and just missed."""
    return f"""\
SELECT image_id, round(score::DOUBLE, 3) AS score, area, round(coverage::DOUBLE, 4) AS coverage
FROM masks
WHERE query_id = {literal(query_id)}
ORDER BY abs(score - {threshold:g}), image_id
LIMIT {limit}"""


def co_occur(first: str, second: str, limit: int) -> str:
    """The images in which the masks of two queries overlap, by intersection over union."""
    return f"""\
SELECT image_id, round(mask_iou(a.counts, b.counts), 3) AS iou, mask_overlap(a.counts, b.counts) AS pixels,
       a.area AS area_a, b.area AS area_b
FROM masks a JOIN masks b USING (image_id)
WHERE a.query_id = {literal(first)} AND b.query_id = {literal(second)}
  AND a.area > 0 AND b.area > 0 AND mask_overlap(a.counts, b.counts) > 0
ORDER BY iou DESC, image_id
LIMIT {limit}"""


def coverage(limit: int) -> str:
    """In how many images each query was found, and how much of them it covers there."""
    return f"""\
SELECT query_id, count(*) AS images, count(*) FILTER (area > 0) AS found_in,
       round({MEAN_COVERAGE}, 4) AS mean_coverage,
       round(quantile_cont(coverage::DOUBLE, 0.5) FILTER (area > 0), 4) AS median_coverage,
       round(max(score)::DOUBLE, 3) AS best_score
FROM masks
GROUP BY query_id
ORDER BY found_in DESC, query_id
LIMIT {limit}"""


def absent(limit: int) -> str:
    """The images in which nothing was found, the least unlikely first, and those that could not be read."""
    return f"""\
SELECT image_id, any_value(status) AS status, round(max(score)::DOUBLE, 3) AS best_score,
       arg_max(query_id, score) AS best_query
FROM images LEFT JOIN masks USING (image_id)
GROUP BY image_id
HAVING coalesce(max(area), 0) = 0
ORDER BY best_score DESC NULLS LAST, image_id
LIMIT {limit}"""


def chosen(
    connection: duckdb.DuckDBPyConnection,
    url: str,
    *,
    limit: int,
    top_of: str | None,
    borderline_of: str | None,
    pair: tuple[str, str] | None,
    want_coverage: bool,
    want_absent: bool,
) -> list[str]:
    """The statements of the questions that are asked, their queries found by name. Raises UserError."""
    statements = []
    if top_of is not None:
        statements.append(top(find(connection, url, top_of).query_id, limit))
    if borderline_of is not None:
        found = find(connection, url, borderline_of)
        statements.append(borderline(found.query_id, found.threshold, limit))
    if pair is not None:
        statements.append(
            co_occur(find(connection, url, pair[0]).query_id, find(connection, url, pair[1]).query_id, limit)
        )
    if want_coverage:
        statements.append(coverage(limit))
    if want_absent:
        statements.append(absent(limit))
    return statements
