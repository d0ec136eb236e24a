"""A contact sheet: a few images, and what each of some queries found in them, laid over."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

import duckdb
import numpy as np
import pyarrow as pa
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from clipseg_ray.masks.rle import decode
from clipseg_ray.pixels.opening import ImageError, opened, upright_rgb
from clipseg_ray.report import samples
from clipseg_ray.report.asked import DescribedQuery
from clipseg_ray.report.facts import Facts
from clipseg_ray.report.samples import Pick

SIDE = 176
"""An image's width on the sheet, in pixels; one that is taller than wide is narrower."""

_GAP, _LINE, _LINES, _TALLEST = 6, 16, 3, 1.25
_RIM = (255, 46, 116)
_CANDIDATES = 256

# Per query images in which it found something; first those where that is neither a speck nor most of the image.
_FOUND = f"""
SELECT query_id,
       max({{fits: (coverage BETWEEN 0.005 AND 0.5)::INT, score: score, image_id: image_id}}, {_CANDIDATES}) AS found
FROM masks WHERE list_contains(?, query_id) AND area > 0 GROUP BY query_id
"""
Fetch = Callable[[pa.Table], Iterable[bytes | Exception]]
"""The encoded images of rows of the images table, in their order."""


def some(found: Facts, most: int) -> list[DescribedQuery]:
    """Up to ``most`` queries that found something, from all over the list; none that the images brought along."""
    queries = [query for query in found.queries if not query.from_images and found.of(query).found]
    return [queries[len(queries) * place // most] for place in range(most)] if len(queries) > most else queries


def drawn(
    connection: duckdb.DuckDBPyConnection,
    queries: Sequence[DescribedQuery],
    fetch: Fetch,
    *,
    images: int,
) -> Image.Image | None:
    """A row for each of up to ``images`` images: the image, then the mask of each query over it, with its score.

    Over the columns stand what was asked and the threshold. The images are those in which most of the queries found
    something; None where there is none that can be had. connection: with the dataset's views.
    """
    query_ids = [query.query_id for query in queries]
    image_ids = _images(connection, query_ids, images)
    if not image_ids:
        return None
    rows = samples.images_of(connection, image_ids)
    shown = [
        (image_id, picture)
        for image_id, encoded in zip(rows["image_id"].to_pylist(), fetch(rows), strict=True)
        if (picture := _picture(encoded)) is not None
    ]
    if not shown:
        return None
    wanted = [Pick(query_id, "", image_id, query_id) for image_id, _ in shown for query_id in query_ids]
    masks = samples.masks_of(connection, wanted).select(["number", "height", "width", "counts", "score"]).to_pylist()
    found = {(wanted[row["number"]].image_id, wanted[row["number"]].query_id): row for row in masks}
    font = ImageFont.load_default(13)
    titles = [_wrapped(query.words, font, SIDE) for query in queries]
    head = _GAP + _LINE * (max(map(len, titles)) + 1)
    width = _GAP + (len(queries) + 1) * (SIDE + _GAP)
    sheet = Image.new("RGB", (width, head + sum(picture.height + _GAP for _, picture in shown)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, (query, lines) in enumerate(zip(queries, titles, strict=True), 1):
        for line, text in enumerate([*lines, f"> {query.threshold:g}"]):
            place = (_GAP + column * (SIDE + _GAP), _GAP // 2 + _LINE * line)
            pen.text(place, text, fill="#5d6169" if line == len(lines) else "black", font=font)
    top = head
    for image_id, picture in shown:
        sheet.paste(picture, (_GAP, top))
        for column, query_id in enumerate(query_ids, 1):
            row = found.get((image_id, query_id))
            if row is not None:
                left = _GAP + column * (SIDE + _GAP)
                mask_hw = decode([row["counts"]], row["height"], row["width"])[0]
                sheet.paste(_overlaid(picture, mask_hw), (left, top))
                text = f"{row['score']:.2f}"
                pen.text((left + 4, top + 2), text, fill="white", font=font, stroke_width=2, stroke_fill="black")
        top += picture.height + _GAP
    return sheet


def _images(connection: duckdb.DuckDBPyConnection, query_ids: list[str], most: int) -> list[str]:
    """Ids of images in which most of the queries found something; of as many the best scores."""
    times: Counter[str] = Counter()
    scores: dict[str, float] = defaultdict(float)
    for _, found in connection.execute(_FOUND, [query_ids]).fetchall():
        for each in found:
            times[each["image_id"]] += each["fits"]
            scores[each["image_id"]] += each["score"]
    return sorted(times, key=lambda image_id: (-times[image_id], -scores[image_id], image_id))[:most]


def _picture(encoded: bytes | Exception) -> Image.Image | None:
    if isinstance(encoded, Exception):
        return None
    try:
        with opened(encoded) as image:
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
            rgb, _ = upright_rgb(image)
    except ImageError:
        return None
    scale = min(SIDE / rgb.width, _TALLEST * SIDE / rgb.height)
    size = (max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale)))
    return rgb.resize(size, Image.Resampling.LANCZOS)


def _overlaid(picture: Image.Image, mask_hw: np.ndarray) -> Image.Image:
    """The picture, as it is inside the mask, with a rim; grey and darker outside."""
    inside = Image.fromarray(mask_hw.astype(np.uint8) * 255).resize(picture.size, Image.Resampling.BILINEAR)
    dark = picture.convert("L").point(lambda value: value * 0.45).convert("RGB")
    laid = Image.composite(picture, dark, inside)
    sharp = inside.point(lambda value: 255 * (value > 127))
    rim = ImageChops.subtract(sharp.filter(ImageFilter.MaxFilter(3)), sharp.filter(ImageFilter.MinFilter(3)))
    laid.paste(_RIM, mask=rim)
    return laid


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """``text`` in at most ``_LINES`` lines of ``width`` pixels, the last cut short where it is longer."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    kept = lines[:_LINES]
    if len(lines) > _LINES:
        kept[-1] += " …"
    return [_cut(line, font, width) for line in kept]


def _cut(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1].rstrip(" …")
    return f"{line}…"


def webp(sheet: Image.Image) -> bytes:
    """The sheet as a file that is small."""
    sink = io.BytesIO()
    sheet.save(sink, "WEBP", quality=80, method=4)
    return sink.getvalue()
