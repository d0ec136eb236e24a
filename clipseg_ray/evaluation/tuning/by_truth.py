"""``tune --truth``: for each query the threshold whose masks are most like the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clipseg_ray.evaluation.tuning.job import count
from clipseg_ray.evaluation.tuning.labelled_images import labelled_images
from clipseg_ray.evaluation.tuning.tuned_table import Tuned, with_values
from clipseg_ray.queries.table import numbered_queries
from clipseg_ray.queries.table_file import read_rows

_TITLES = (
    "query",
    "with it",
    "without",
    "threshold",
    "95 of 100 resamples",
    "IoU_FG",
    "95 of 100",
    "was",
    "IoU_FG was",
)


def tune_by_truth(
    table: str, truth: Sequence[str], options: Mapping[str, Any], *, checkpoint: str, threshold: float
) -> Tuned:
    """The table with the best threshold in the column ``threshold`` of each query that is in the truth.

    truth, options: see ``labelled_images``. threshold: of queries without their own, to be compared with.
    Raises UserError for anything that stops it.
    """
    rows = read_rows(table)
    numbered = numbered_queries(rows, None, threshold)
    queries = [query for _, query in numbered]
    images = labelled_images(truth, options)
    found = count(queries, table, images, checkpoint)
    best = {query_id: chosen for query_id, counts in found.items() if (chosen := counts.best()) is not None}
    shown = []
    for query in queries:
        if query.query_id in best:
            each, counts = best[query.query_id], found[query.query_id]
            shown.append(
                (
                    query.query_id,
                    str(counts.present),
                    str(counts.absent),
                    f"{each.threshold:.2f}",
                    f"{each.bounds[0]:.2f}–{each.bounds[1]:.2f}",
                    f"{each.iou_fg:.3f}",
                    f"{each.iou_bounds[0]:.3f}–{each.iou_bounds[1]:.3f}",
                    f"{query.threshold:g}",
                    f"{each.own_iou_fg:.3f}",
                )
            )
    left = [query.query_id for query in queries if query.keep and query.query_id not in best]
    remarks = [
        f"{images.contents.images} images of {', '.join(truth)}; a pixel is inside where its probability is above the "
        "threshold, one of 0.02, 0.04, … 0.98, and IoU_FG pools the pixels of all images that were asked; chosen and "
        "measured on the same images, which flatters where these are few"
    ]
    if left:
        remarks.append(
            f"as they were, for the truth has no pixel of them under their id, concept or wording: {', '.join(left)}"
        )
    thresholds = {query_id: each.threshold for query_id, each in best.items()}
    return Tuned(with_values(rows, numbered, "threshold", thresholds), _TITLES, shown, remarks)
