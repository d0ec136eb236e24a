"""A page of photos and what was found in them, with a slider for each query's threshold; one HTML file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from clipseg_ray.errors import UserError
from clipseg_ray.inference.prediction import Prediction, called
from clipseg_ray.inference.predictor import Predictor
from clipseg_ray.report import one_page
from clipseg_ray.report.export.palette import colour

LONGER_SIDE = 1024
"""Photos are made smaller than this, in pixels."""
MAX_BYTES = 64_000_000
"""What a page may weigh: browsers are slow beyond."""
LEAST = 0.05
"""Where the sliders begin. Maps that nowhere reach it are left out."""


def write(predictor: Predictor, found: Prediction, destination: str, *, caution: str) -> str:
    """Write the page of all photos of ``found``; returns its URL. Raises UserError for more than a browser shows."""
    queries = [
        {"words": called(query), "threshold": round(query.threshold, 4), "colour": colour(number)}
        for number, query in enumerate(found.queries, 1)
    ]
    photos: list[dict[str, Any]] = []
    weight = 0
    for place, (image_id, maps) in enumerate(zip(found.image_ids, _maps(predictor, found), strict=True)):
        original = found.original(place)
        width, height = original.size
        original.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.LANCZOS)
        src = _data_url(original, "WEBP")
        photos.append({"name": image_id, "width": width, "height": height, "src": src, "maps": maps})
        weight += len(src) + sum(len(each["src"] or "") for each in maps)
        if weight > MAX_BYTES:
            raise UserError(
                f"-o {destination}: a page of more than {MAX_BYTES // 10**6} MB; try fewer photos or queries at a time"
            )
    content = {"caution": caution, "least": LEAST, "queries": queries, "photos": photos}
    document = one_page.document(
        "trial.html", content, title="clipseg-ray try", styles=("style.css", "trial.css"),
        scripts=("masks.js", "elements.js", "looks.js", "heat.js", "trial.js"),
    )  # fmt: skip
    return one_page.put(destination, document.encode())


def _maps(predictor: Predictor, found: Prediction) -> Iterator[list[dict[str, Any]]]:
    """For each photo, by query: score, coverage at the query's own threshold, and the map as a grey PNG, 255 for 1."""
    place = 0
    for rows in predictor.stream(found.queries, probabilities="uint8"):
        for image in range(int(rows.image_index_p.min()), int(rows.image_index_p.max()) + 1):
            shown = zip(found.scores[place], found.coverages(place), rows.maps_of(image), strict=True)
            yield [
                {"score": round(float(score), 5), "coverage": float(f"{coverage:.4g}"), "src": _map_url(map_hw)}
                for score, coverage, map_hw in shown
            ]
            place += 1


def _map_url(map_hw: np.ndarray) -> str | None:
    return _data_url(Image.fromarray(map_hw), "PNG") if map_hw.max() > 255 * LEAST else None


def _data_url(image: Image.Image, form: str) -> str:
    sink = io.BytesIO()
    image.save(sink, form, **({"quality": 80, "method": 2} if form == "WEBP" else {"compress_level": 6}))
    return one_page.data_url(sink.getvalue(), form.lower())
