"""Verdicts on the images of a workbench: which image is asked about next, what was said, and what follows from it.

All that was ever said is kept in ``said.json``, by question and image, also of images that are not in the sample now.
What an estimate takes, the sample's scores and the verdicts on it, is in ``verdicts.json``
(``verdicts.verdict_file``), which ``clipseg-ray tune --verdicts`` reads.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from clipseg_ray import json_text
from clipseg_ray.errors import UserError
from clipseg_ray.plain_text import text_of
from clipseg_ray.queries.query import Query
from clipseg_ray.redaction import redacted
from clipseg_ray.verdicts.asking import VERDICTS, order
from clipseg_ray.verdicts.estimates import Estimates, Proposal, Share, estimate
from clipseg_ray.verdicts.verdict_file import JudgedQuery, VerdictFile, parsed, written
from clipseg_ray.workbench.bench import Bench

FILE = "verdicts.json"
SAID = "said.json"
_AHEAD = 4
"""Images that the page is told of before they are asked about."""

Said = dict[str, bool | None]
"""By image, in the order in which it was said; None: nobody could tell."""


class Judging:
    """The verdicts of one workbench. Everything may be called from any thread.

    model: what gives the scores, for the file. Raises UserError where what was kept cannot be read.
    """

    def __init__(self, bench: Bench, model: Mapping[str, str]) -> None:
        self._bench, self._model = bench, model
        self._lock = threading.Lock()
        self._said: dict[str, Said] = self._kept(SAID, _said, {})
        kept: VerdictFile | None = self._kept(FILE, parsed, None)
        self._judged = {query.question: query for query in kept.queries} if kept is not None else {}

    @property
    def place(self) -> str:
        """Where the verdicts are kept for ``tune``."""
        return self._bench.folder.url_of(FILE)

    def described(self, uid: str, wished: float | None) -> dict[str, Any]:
        """All that the page shows of a query of the list; ``wished``: a share of found images that shall be right."""
        query, scores = self._asked(uid)
        with self._lock:
            return self._described(self._sample(query, scores), list(self._names(scores)), wished)

    def say(self, uid: str, index: int, there: bool | None, wished: float | None) -> dict[str, Any]:
        """Take a verdict on an image of the sample, or None where nobody can tell; a second one replaces the first."""
        query, scores = self._asked(uid)
        name = self._names(scores).get(index)
        if name is None:
            raise UserError(f"image {index} of this sample has no score, so nothing is asked about it")
        with self._lock:
            said = self._said.setdefault(query.question_digest(), {})
            said.pop(name, None)
            said[name] = there
            return self._keep(query, scores, wished)

    def unsay(self, uid: str, wished: float | None) -> dict[str, Any]:
        """Take back the last verdict."""
        query, scores = self._asked(uid)
        with self._lock:
            said, known = self._said.get(query.question_digest(), {}), set(self._names(scores).values())
            last = next((name for name in reversed(said) if name in known), None)
            if last is not None:
                del said[last]
            return self._keep(query, scores, wished)

    def _keep(self, query: Query, scores: Mapping[int, float], wished: float | None) -> dict[str, Any]:
        sample = self._sample(query, scores)
        self._judged[sample.question] = sample
        names = {query.question_digest(): query.query_id for _, query in self._bench.entries()}
        listed = [
            replace(each, query_id=names[each.question]) for each in self._judged.values() if each.question in names
        ]
        once = {each.query_id: each for each in listed}  # two entries may ask the same
        self._bench.folder.put(SAID, json.dumps(self._said, ensure_ascii=False).encode())
        self._bench.folder.put(FILE, written(VerdictFile(model=self._model, queries=list(once.values()))))
        return self._described(sample, list(self._names(scores)), wished)

    def _asked(self, uid: str) -> tuple[Query, dict[int, float]]:
        (query,) = [query for query in self._bench.of_entry(uid) if query.keep]
        return query, self._bench.scores(uid)

    def _names(self, scores: Mapping[int, float]) -> dict[int, str]:
        """By index the name of each image with a score; of images with one name each has its number besides."""
        names = {index: self._bench.image(index).image_id for index in sorted(scores)}
        often = Counter(names.values())
        return {index: name if often[name] == 1 else f"{name} #{index}" for index, name in names.items()}

    def _sample(self, query: Query, scores: Mapping[int, float]) -> JudgedQuery:
        names = self._names(scores)
        said = self._said.get(query.question_digest(), {})
        verdicts = {place: there for place, name in enumerate(names.values()) if (there := said.get(name)) is not None}
        return JudgedQuery(
            query_id=query.query_id,
            words=query.words,
            question=query.question_digest(),
            images=tuple(names.values()),
            scores=tuple(scores[index] for index in names),
            verdicts=verdicts,
        )

    def _described(self, sample: JudgedQuery, indices: Sequence[int], wished: float | None) -> dict[str, Any]:
        """indices: of the sample's images."""
        said = self._said.get(sample.question, {})
        scores_n = np.array(sample.scores)
        index_of = dict(zip(sample.images, indices, strict=True))
        waiting = [
            index_of[sample.images[place]]
            for place in order(scores_n, sample.images, sample.question)
            if sample.images[place] not in said
        ]
        known = [name for name in said if name in index_of]
        return {
            "verdicts": len(sample.verdicts),
            "there": sum(sample.verdicts.values()),
            "wanted": min(VERDICTS, len(sample.images)),
            "images": len(sample.images),
            "next": waiting[:_AHEAD],
            "last": index_of[known[-1]] if known else None,
            "file": redacted(self.place),
            **_estimates(estimate(scores_n, sample.verdicts), wished),
        }

    def _kept(self, name: str, parse: Any, nothing: Any) -> Any:
        folder = self._bench.folder
        try:
            return parse(folder.get(name))
        except FileNotFoundError:
            return nothing
        except ValueError as error:
            raise UserError(
                f"{folder.url_of(name)}: the kept verdicts cannot be read ({error}); move the file away to begin anew"
            ) from error


def _said(data: bytes) -> dict[str, Said]:
    """Raises ValueError for what is no such file."""
    body = json_text.load(text_of(data))
    sound = isinstance(body, dict) and all(
        isinstance(each, dict) and all(there is None or isinstance(there, bool) for there in each.values())
        for each in body.values()
    )
    if not sound:
        raise ValueError("it is no object of verdicts by question and image")
    return {str(question): dict(each) for question, each in body.items()}


def _estimates(found: Estimates | None, wished: float | None) -> dict[str, Any]:
    """The shares at every threshold that verdicts tell apart, for the page to look up, and what is proposed."""
    if found is None:
        return {"at": None, "balanced": None, "wished": None}
    proposal = None if wished is None else found.with_precision(wished)
    return {
        "at": {
            "threshold": found.threshold_t.tolist(),
            "right": np.column_stack([found.right_t, found.right_bounds_tb]).tolist(),
            "found": np.column_stack([found.found_t, found.found_bounds_tb]).tolist(),
        },
        "balanced": _proposal(found.balanced()),
        "wished": None if proposal is None else _proposal(proposal),
    }


def _proposal(found: Proposal) -> dict[str, Any]:
    return {
        "threshold": found.threshold,
        "bounds": [found.low, found.high],
        "right": _share(found.right),
        "found": _share(found.found),
        "images": found.images,
    }


def _share(share: Share) -> list[float]:
    return [share.value, share.low, share.high]
