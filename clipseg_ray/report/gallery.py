"""The gallery: one HTML file to look at what each query found, which needs nothing but a browser.

    clipseg-ray gallery demo-output/masks -o gallery.html

Everything is in the file: small images, masks as COCO run lengths, numbers, style and script. Text from the dataset
enters the page as JSON and becomes text nodes only; a content security policy by hash lets no other script run.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from clipseg_ray.boundary import Boundary
from clipseg_ray.masks import algebra
from clipseg_ray.report import facts, one_page, places, samples, statistics
from clipseg_ray.report.asked import DescribedQuery
from clipseg_ray.report.facts import Facts
from clipseg_ray.report.places import Originals
from clipseg_ray.report.samples import GROUPS, Pick
from clipseg_ray.report.thumbnails import fitting
from clipseg_ray.results.source_images import SourceImages
from clipseg_ray.storage import Store

MAX_BYTES = 10_000_000
"""What a page may weigh unless asked otherwise."""

GRID = 352
"""Masks on a larger grid are drawn at this longer side."""

_THUMBNAIL_BYTES = 5_000  # of a thumbnail that is still worth a look
_SAMPLE_BYTES = 900
_HEAT_BYTES = 0.45  # a cell, as text
_WHOLE_SHARE = 0.2  # of the page, for masks of images of which all are shown
_TRIED = 16
_PAGE = (
    "masks.js", "colours.js", "elements.js", "heat.js", "looks.js", "charts.js", "frames.js", "samples.js", "viewer.js",
    "page.js",
)  # fmt: skip


def write(output: str, destination: str, max_bytes: int = MAX_BYTES, *, allow_source: Sequence[str] = ()) -> str:
    """Write the gallery of a dataset to a ``.html`` file, or to ``index.html`` in a folder; returns its URL.

    Where the images would make the page heavier than ``max_bytes``, they are smaller, and fewer samples are shown.
    ``allow_source``: prefixes below which its images may lie, besides its own bucket or parent folder.
    Raises UserError where no dataset is, or one without masks.
    """
    store = Store.of(output)
    with facts.gather(store) as (found, connection):
        mask_bytes = _SAMPLE_BYTES + _HEAT_BYTES * (found.record.masks.get("heat") or 0) ** 2
        whole_bytes = _WHOLE_SHARE * max_bytes
        chosen = samples.picks(connection, found.queries)
        wanted = _affordable(chosen, max_bytes - whole_bytes - len(_html({"title": ""})), mask_bytes)
        image_ids = list(dict.fromkeys(pick.image_id for pick in wanted))
        whole = samples.whole_images(connection, image_ids, int(whole_bytes / mask_bytes))
        shown = {(pick.image_id, pick.query_id) for pick in wanted}
        wanted += [pick for picks in whole.values() for pick in picks if (pick.image_id, pick.query_id) not in shown]
        masks = samples.masks_of(connection, wanted)
        images = samples.images_of(connection, image_ids)
    page = _page(found, wanted, masks)
    place = {image_id: index for index, image_id in enumerate(images["image_id"].to_pylist())}
    for sample in page["samples"]:
        sample["picture"] = place[sample["picture"]]
    page["byImage"] = [place[image_id] for image_id in whole]
    parted = found.record.input["format"] in ("webdataset", "parquet")
    page["pictures"] = _pictures(
        images, found, Originals(Boundary.around(store.url, allow_source), destination, parted)
    )
    supports = [support for query in page["queries"] for support in query["supports"]]
    urls = [support.pop("url") for support in supports]
    room = (max_bytes - len(_html(page)) - 64 * (images.num_rows + len(urls))) * 3 // 4
    encoded = encoded_images(SourceImages(store, allow_source), images, urls)
    made = fitting(encoded, max(0, room))
    for picture, thumbnail in zip([*page["pictures"], *supports], made, strict=True):
        picture["src"] = None if thumbnail is None else one_page.data_url(thumbnail.webp, "webp")
    return one_page.put(destination, _html(page).encode())


def _affordable(chosen: dict[str, list[list[Pick]]], room: float, mask_bytes: float) -> list[Pick]:
    """As many samples a group as this many bytes hold."""
    wanted: list[Pick] = []
    for per_group in range(samples.PER_GROUP, 0, -1):
        wanted = samples.shortened(chosen, per_group)
        shown = len({pick.image_id for pick in wanted})
        if shown * _THUMBNAIL_BYTES * 4 // 3 + len(wanted) * mask_bytes <= room:
            break
    return wanted


def encoded_images(source: SourceImages, images: pa.Table, urls: Sequence[str] = ()) -> Iterator[bytes | Exception]:
    """The encoded images of rows of ``images``, then the support pictures at ``urls``.

    Where none of the first can be had the input is not within reach, and the others are not waited for.
    """
    first = list(source.fetch(images.slice(0, _TRIED)))
    yield from first
    rest = images.slice(_TRIED)
    if all(isinstance(each, Exception) for each in first):
        yield from (FileNotFoundError(url) for url in rest["source_url"].to_pylist())
    else:
        yield from source.fetch(rest)
    yield from source.fetch_urls(urls)


def _page(found: Facts, wanted: Sequence[Pick], masks: pa.Table) -> dict[str, Any]:
    """What the page says of queries and masks, as JSON values; a sample's ``picture`` is its image's id."""
    queries = [_query(found, query) for query in found.queries]
    index_of = {query.query_id: index for index, query in enumerate(found.queries)}
    shown: list[dict[str, Any]] = []
    for sample, number in _samples(masks):
        pick = wanted[number]
        if pick.group:
            queries[index_of[pick.asked]]["groups"][pick.group].append(len(shown))
        shown.append(sample | {"query": index_of[pick.asked], "picture": pick.image_id})
    bad = {status: count for status, count in found.statuses.items() if status != "ok"}
    return {
        "title": found.name,
        "summary": f"{found.images:,} images · {len(queries):,} queries · {found.found:,} masks",
        "images": found.images,
        "about": _about(found),
        "missing": " ".join(
            [f"This dataset is incomplete: {'; '.join(found.missing)}."] * bool(found.missing) + [found.note]
        ).strip(),
        "caution": found.caution or "",
        "decades": statistics.COVERAGE_DECADES,
        "queries": queries,
        "samples": shown,
        "failures": {
            "total": sum(bad.values()),
            "statuses": list(bad.items()),
            "rows": [(image_id, status, found.said(error)) for image_id, status, error in found.failures],
        },
    }


def _pictures(images: pa.Table, found: Facts, originals: Originals) -> list[dict[str, Any]]:
    return [
        {
            "id": row["image_id"],
            "width": row["width"],
            "height": row["height"],
            "place": _place(row, found),
            "whole": originals.whole(row["source_url"]),
            "link": originals.link(row["source_url"]),
        }
        for row in images.to_pylist()
    ]


def _place(row: dict[str, Any], found: Facts) -> str:
    place = places.shown(row["source_url"], found.url)
    if row["offset"] is None or row["length"] is None or found.record.input["format"] != "webdataset":
        return place
    return f"{place}, bytes {row['offset']:,} to {row['offset'] + row['length']:,}"


def _about(found: Facts) -> list[tuple[str, str]]:
    model, compute = found.record.model, found.record.compute
    last = found.last_run.get("run_id")
    return [
        ("model", f"{found.model}{' @ ' + model['revision'][:12] if model['revision'] else ''}"),
        ("weights", model["weights_sha256"][:12]),
        ("input", found.input),
        ("computed", f"{compute['precision']} on {compute['device']}"),
        ("fingerprint", found.record.fingerprint),
        *([("last run", last)] if last else []),
    ]


def _query(found: Facts, query: DescribedQuery) -> dict[str, Any]:
    numbers = found.of(query)
    return {
        "id": query.query_id,
        "kind": query.kind,
        "words": query.words,
        "threshold": query.threshold,
        "templates": list(query.templates) if query.texts or query.from_images else [],
        "mode": query.mode,
        "alpha": query.alpha,
        "supports": [
            {
                "url": support["url"],
                "width": support["width"],
                "height": support["height"],
                "size": [support["height"], support["width"]],
                "counts": support["counts"],
            }
            for support in query.supports
        ],
        "images": numbers.images,
        "found": numbers.found,
        "coverage": round(numbers.coverage, 6),
        "scoreBins": numbers.score_bins,
        "coverageBins": numbers.coverage_bins,
        "groups": {group: [] for group in GROUPS},
    }


def _samples(masks: pa.Table) -> Iterator[tuple[dict[str, Any], int]]:
    """(what a sample says of its mask, the pick's index), in the order of the picks."""
    height_p, width_p = (masks.column(name).to_numpy().astype(np.int64) for name in ("height", "width"))
    scale_p = np.minimum(1.0, GRID / np.maximum(height_p, width_p))
    drawn = [np.maximum(1, np.round(side_p * scale_p)).astype(np.int64) for side_p in (height_p, width_p)]
    counts = algebra.resize(masks.column("counts"), *(pa.array(side_p) for side_p in (height_p, width_p, *drawn)))
    rows = masks.drop_columns(["counts"]).to_pylist()
    for row, own, height, width in zip(rows, counts.to_pylist(), drawn[0].tolist(), drawn[1].tolist(), strict=True):
        mean, presence = row["score_mean"], row.get("presence")
        yield (
            {
                "score": round(row["score"], 5),
                "mean": None if mean is None else round(mean, 5),
                "area": row["area"],
                "coverage": float(f"{row['coverage']:.4g}"),
                "box": [row["bbox"][side] for side in "xywh"],
                "grid": [row["height"], row["width"]],
                "size": [height, width],
                "counts": own if row["area"] else "",
                "phrase": row["query_text"],
                "presence": None if presence is None else round(presence, 4),
                "heat": _heat_url(row.get("heat")),
            },
            row["number"],
        )


def _heat_url(heat: bytes | None) -> str | None:
    """A map of probabilities as a grey image: the bytes of a row of the column ``heat``, a square."""
    if heat is None:
        return None
    side = math.isqrt(len(heat))
    sink = io.BytesIO()
    Image.frombytes("L", (side, side), heat).save(sink, "PNG", compress_level=9)
    return one_page.data_url(sink.getvalue(), "png")


def _html(page: dict[str, Any]) -> str:
    """The page as one file."""
    title = f"{page['title']} · gallery"
    return one_page.document("template.html", page, title=title, styles=("style.css",), scripts=_PAGE)
