"""The file that verdicts are saved in: JSON, a few kilobytes a query, everything that an estimate needs.

    {"format": "clipseg-ray verdicts", "version": 1,
     "model": {"checkpoint": "CIDAS/clipseg-rd64-refined", "weights_sha256": "…"},
     "queries": [{"query_id": "mug", "words": "a mug", "question": "<SHA-256>",
                  "images": [{"image": "kitchen/1.jpg", "score": 0.913, "there": true},
                             {"image": "kitchen/2.jpg", "score": 0.04}, …]}]}

``images`` are all of the sample that have a score, the greatest probability of any pixel; those with ``there`` were
asked about. Which these were follows from scores and names (``asking``). ``question`` is ``Query.question_digest``:
verdicts on a question say nothing of another, whatever its id.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clipseg_ray import json_text
from clipseg_ray.errors import UserError
from clipseg_ray.plain_text import text_of
from clipseg_ray.storage import Store, plain_errors

FORMAT = "clipseg-ray verdicts"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class JudgedQuery:
    """One query's images and verdicts. images: names; scores: of each, 0 to 1. verdicts: by place in ``images``."""

    query_id: str
    words: str
    question: str
    images: tuple[str, ...]
    scores: tuple[float, ...]
    verdicts: Mapping[int, bool] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class VerdictFile:
    """What is saved. model: what gave the scores, as the file has it."""

    model: Mapping[str, str]
    queries: Sequence[JudgedQuery]


def written(file: VerdictFile) -> bytes:
    """The file's bytes."""
    queries = [
        {
            "query_id": query.query_id,
            "words": query.words,
            "question": query.question,
            "images": [
                {"image": name, "score": score, **({"there": query.verdicts[n]} if n in query.verdicts else {})}
                for n, (name, score) in enumerate(zip(query.images, query.scores, strict=True))
            ],
        }
        for query in file.queries
    ]
    body = {"format": FORMAT, "version": VERSION, "model": dict(file.model), "queries": queries}
    return json.dumps(body, ensure_ascii=False, indent=1).encode() + b"\n"


def read(url: str) -> VerdictFile:
    """The verdicts in the file at a path or URL. Raises UserError, naming it, for what is none."""
    with plain_errors(url):
        data = Store.of(url).get("")
    try:
        return parsed(data)
    except ValueError as error:
        raise UserError(f"{url}: no file of verdicts ({error}); save them again in the workbench") from error


def parsed(data: bytes) -> VerdictFile:
    """What a file's bytes hold. Raises ValueError, worded for a person, for anything but such a file."""
    body = json_text.load(text_of(data))
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise ValueError(f'it does not begin with "format": "{FORMAT}"')
    if body.get("version") != VERSION:
        raise ValueError(f"its version is {body.get('version')!r}, this program reads {VERSION}")
    model = body.get("model")
    if not isinstance(model, dict) or not all(isinstance(each, str) for each in model.values()):
        raise ValueError("model is no object of texts")
    queries = [_query(number, each) for number, each in enumerate(_list(body, "queries"), 1)]
    if len({query.query_id for query in queries}) < len(queries):
        raise ValueError("a query_id is there twice")
    return VerdictFile(model=model, queries=queries)


def _query(number: int, body: Any) -> JudgedQuery:
    texts = [body.get(name) if isinstance(body, dict) else None for name in ("query_id", "words", "question")]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"query number {number} lacks query_id, words or question")
    query_id, words, question = map(str, texts)
    images = _list(body, "images")
    for place, image in enumerate(images, 1):
        if not isinstance(image, dict) or not isinstance(image.get("image"), str) or not _is_score(image.get("score")):
            raise ValueError(f"{query_id}: image number {place} lacks its name, or a score from 0 to 1")
        if not isinstance(image.get("there", True), bool):
            raise ValueError(f"{query_id}: {image['image']}: there is neither true nor false")
    names = tuple(image["image"] for image in images)
    if len(set(names)) < len(names):
        raise ValueError(f"{query_id}: an image is there twice")
    return JudgedQuery(
        query_id=query_id,
        words=words,
        question=question,
        images=names,
        scores=tuple(float(image["score"]) for image in images),
        verdicts={place: image["there"] for place, image in enumerate(images) if "there" in image},
    )


def _list(body: Mapping[str, Any], name: str) -> list[Any]:
    if not isinstance(found := body.get(name), list):
        raise ValueError(f"{name} is no list")
    return found


def _is_score(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 1
