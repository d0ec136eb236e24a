"""Questions asked of every dataset, as SQL over the views of :mod:`clipseg_ray.results.reading`."""

from __future__ import annotations


def literal(text: str) -> str:
    """``text`` as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


def top(query_id: str, limit: int) -> str:
    """The pictures in which a query has the greatest score."""
    return f"""\
SELECT image_id, round(score::DOUBLE, 3) AS score, area, round(coverage::DOUBLE, 4) AS coverage, bbox
FROM masks
WHERE query_id = {literal(query_id)}
ORDER BY score DESC, image_id
LIMIT {limit}"""


def borderline(query_id: str, threshold: float, limit: int) -> str:
    """The pictures whose score is nearest to the threshold: just found and just missed."""
    return f"""\
SELECT image_id, round(score::DOUBLE, 3) AS score, area, round(coverage::DOUBLE, 4) AS coverage
FROM masks
WHERE query_id = {literal(query_id)}
ORDER BY abs(score - {threshold:g}), image_id
LIMIT {limit}"""


def co_occur(first: str, second: str, limit: int) -> str:
    """The pictures in which the masks of two queries overlap, by intersection over union."""
    return f"""\
SELECT image_id, round(mask_iou(a.counts, b.counts), 3) AS iou, mask_overlap(a.counts, b.counts) AS pixels,
       a.area AS area_a, b.area AS area_b
FROM masks a JOIN masks b USING (image_id)
WHERE a.query_id = {literal(first)} AND b.query_id = {literal(second)}
  AND a.area > 0 AND b.area > 0 AND mask_overlap(a.counts, b.counts) > 0
ORDER BY iou DESC, image_id
LIMIT {limit}"""


def coverage(limit: int) -> str:
    """In how many pictures each query was found, and how much of them it covers there."""
    return f"""\
SELECT query_id, count(*) AS images, count(*) FILTER (area > 0) AS found_in,
       round(avg(coverage) FILTER (area > 0), 4) AS mean_coverage,
       round(quantile_cont(coverage, 0.5) FILTER (area > 0), 4) AS median_coverage,
       round(max(score)::DOUBLE, 3) AS best_score
FROM masks
GROUP BY query_id
ORDER BY found_in DESC, query_id
LIMIT {limit}"""


def absent(limit: int) -> str:
    """The pictures in which nothing was found, the least unlikely first, and those that could not be read."""
    return f"""\
SELECT image_id, any_value(status) AS status, round(max(score)::DOUBLE, 3) AS best_score,
       arg_max(query_id, score) AS best_query
FROM images LEFT JOIN masks USING (image_id)
GROUP BY image_id
HAVING coalesce(max(area), 0) = 0
ORDER BY best_score DESC NULLS LAST, image_id
LIMIT {limit}"""
