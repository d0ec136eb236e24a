"""What a program asks, texts, queries or rows of a query table, as the prompt set that a run makes of it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from clipseg_ray.errors import UserError
from clipseg_ray.masks import rle
from clipseg_ray.pixels.opening import ImageError, handed, upright_rgb
from clipseg_ray.queries.others import resolved
from clipseg_ray.queries.prompt_set import PromptSet
from clipseg_ray.queries.query import Query
from clipseg_ray.queries.set_questions import SetQuestions
from clipseg_ray.queries.table import from_rows
from clipseg_ray.tables import twice

QueryLike: TypeAlias = "str | Query | Mapping[str, Any]"
"""A text, a ``Query``, or a row of a query table.

In a row ``image`` may also be an encoded picture, PIL's, or an array uint8 [h, w, 3], and ``mask`` an encoded PNG or
bool [h, w], besides a box [x, y, w, h] or a COCO RLE.
"""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Queries ready to be put to a model.

    queries: those that are written, in the order of ``queries_of``. place_q: for each written query of the
    prompt set its place among them. questions: the prompt set as the model takes it.
    """

    queries: tuple[Query, ...]
    place_q: np.ndarray
    prompt_set: PromptSet
    questions: SetQuestions

    @classmethod
    def of(
        cls,
        queries: Sequence[Query],
        embed: Callable[[Sequence[Query]], np.ndarray],
        to_prompts: Callable[[np.ndarray], Any],
    ) -> Asked:
        """``queries`` as ``queries_of`` gives them. embed: queries → conditionals of the prompts among them."""
        ordered = sorted(queries, key=lambda query: query.query_id)  # in this order a run embeds them
        prompt_set = PromptSet.of(ordered, embed(ordered))
        written = tuple(query for query in queries if query.keep)
        if not written:
            raise UserError("queries: of none the masks are wanted; give one without keep: false")
        place = {query.query_id: index for index, query in enumerate(written)}
        return cls(
            queries=written,
            place_q=np.array([place[query.query_id] for query in prompt_set.queries], np.int64),
            prompt_set=prompt_set,
            questions=SetQuestions.of_queries(prompt_set, to_prompts),
        )


def queries_of(asked: QueryLike | Sequence[QueryLike], threshold: float) -> list[Query]:
    """One thing that is asked, or several, as resolved queries: those given as such, then what texts and rows make.

    threshold: for texts and rows without their own, in (0, 1). Raises UserError that lists every fault.
    """
    if not 0 < threshold < 1:
        raise UserError(f"threshold {threshold:g}: give a probability between 0 and 1, both excluded")
    each_asked = [asked] if isinstance(asked, str | Query | Mapping) else list(asked)
    if not each_asked:
        raise UserError("queries: none is given; give a text, e.g. 'a red chair'")
    held: dict[str, bytes] = {}
    rows = [_row(each, held) for each in each_asked if not isinstance(each, Query)]
    made = from_rows(rows, threshold, held) if rows else []
    queries = [*(each for each in each_asked if isinstance(each, Query)), *made]
    if (name := twice([query.query_id for query in queries])) is not None:
        raise UserError(f"queries: {name!r} is there twice; give each query a query_id of its own")
    try:
        return resolved(queries)
    except ValueError as error:
        raise UserError(f"queries: {error}") from error


def _row(asked: Any, held: dict[str, bytes]) -> dict[str, Any]:
    if isinstance(asked, str):
        return {"text": asked}
    if not isinstance(asked, Mapping):
        raise UserError(f"queries: {type(asked).__name__} is none; give a text, a Query or a row of a query table")
    row = {key: value for key, value in asked.items() if value is not None}
    if "image" in row:
        row["image"] = _each(row["image"], lambda picture: _picture(picture, held))
    if "mask" in row:
        row["mask"] = _mask(row["mask"], held)
    return row


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    return [change(each) for each in value] if isinstance(value, list | tuple) else change(value)


def _picture(picture: Any, held: dict[str, bytes]) -> Any:
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise UserError(f"image: array of {picture.dtype} {list(picture.shape)}; give uint8 [h, w, 3]")
        picture = Image.fromarray(picture)
    if isinstance(picture, Image.Image):
        sink = io.BytesIO()
        try:
            with handed(picture) as image:
                upright_rgb(image)[0].save(sink, "PNG")
        except ImageError as error:
            raise UserError(f"image: {error}") from error
        picture = sink.getvalue()
    return _held(picture, "picture", held) if isinstance(picture, bytes) else str(picture)


def _mask(mask: Any, held: dict[str, bytes]) -> Any:
    """A mask, or a list of them: bool arrays as COCO RLE, files at hand by a name."""
    if isinstance(mask, bytes):
        return _held(mask, "mask", held)
    if isinstance(mask, np.ndarray) and mask.ndim == 2:
        inside_hw = np.asarray(mask) != 0
        bits_1n = np.packbits(inside_hw.T.reshape(1, -1), axis=1, bitorder="little")
        encoded = rle.encode_bits(bits_1n, *inside_hw.shape)
        return {"size": list(inside_hw.shape), "counts": encoded.counts[0].as_py()}
    if isinstance(mask, np.ndarray):
        return mask.tolist()
    if isinstance(mask, list | tuple):
        return [_mask(each, held) for each in mask]
    if isinstance(mask, Path):
        return str(mask)
    return mask.item() if isinstance(mask, np.generic) else mask


def _held(data: bytes, kind: str, held: dict[str, bytes]) -> str:
    name = f"{kind}-{hashlib.sha256(data).hexdigest()[:16]}"
    held[name] = data
    return name
