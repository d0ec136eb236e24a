"""The contests of a prompt set on some images: which rows of the decoder they need, and what they end with."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from clipseg_ray.masks.competition import Competition, Contest
from clipseg_ray.masks.verdict import Verdict
from clipseg_ray.model.block import Block, Met
from clipseg_ray.model.rows import Answers, Rows


class Contests:
    """A prompt set's contests, ready on a device. threshold_logits_q: float32 [q], of its written queries."""

    def __init__(self, competition: Competition, threshold_logits_q: np.ndarray, device: torch.device) -> None:
        self._contests = [(contest, Verdict(contest, device)) for contest in competition.contests]
        self._limit_q = np.asarray(threshold_logits_q, np.float32)

    def bouts(self, first: int, images: int) -> Bouts:
        """All contests on each of so many images. first: the place of the first image among those of the caller."""
        prompts = np.array([place for contest, _ in self._contests for place in contest.prompts], np.int64)
        rows = Rows.as_given((np.repeat(np.arange(images), len(prompts)), np.tile(prompts, images)))
        bouts, start = [], 0
        for feature in range(images):
            for contest, verdict in self._contests:
                stop = start + len(contest.prompts)
                answers = self._answers(contest, first + feature)
                bouts.append(
                    Bout(contest=contest, verdict=verdict, rows=rows[start:stop], answers=answers, start=start)
                )
                start = stop
        return Bouts(rows, bouts)

    def _answers(self, contest: Contest, image: int) -> Answers:
        query_k = np.array([output.query for output in contest.outputs], np.int64)
        images_k = np.full(len(query_k), image, np.int64)
        return Answers(image_index_p=images_k, query_index_p=query_k, limit_p=self._limit_q[query_k])


@dataclass(frozen=True, kw_only=True)
class Bout:
    """One contest on one image. rows: what it takes of the decoder, from ``start`` on. answers: what it gives."""

    contest: Contest
    verdict: Verdict
    rows: Rows
    answers: Answers
    start: int

    @property
    def stop(self) -> int:
        """Behind its last row."""
        return self.start + len(self.rows)


class Bouts:
    """Bouts one after the other, image by image. rows: theirs, in a row for the decoder.

    Chunks of these rows come in order. Besides a chunk's logits, those of the one bout are kept that began and has not
    ended.
    """

    def __init__(self, rows: Rows, bouts: list[Bout]) -> None:
        self.rows = rows
        self._bouts, self._starts = bouts, [bout.start for bout in bouts]
        self._begun: torch.Tensor | None = None

    def __iter__(self) -> Iterator[Bout]:
        return iter(self._bouts)

    def completed(self, start: int, logits_pwh: torch.Tensor, want_logits: bool) -> Decided:
        """The bouts that end in a chunk. start: its first row. logits_pwh: float32, on the device."""
        decided = Decided(want_logits)
        for bout in self._met(start, logits_pwh):
            if bout.stop > start + len(logits_pwh):
                break
            own_mwh = logits_pwh[max(bout.start - start, 0) : bout.stop - start]
            if bout.start < start:
                kept_mwh = self._room(logits_pwh)
                kept_mwh[start - bout.start : len(bout.rows)] = own_mwh
                own_mwh = kept_mwh[: len(bout.rows)]
            decided.add(bout, own_mwh)
        return decided

    def begin(self, start: int, logits_pwh: torch.Tensor) -> None:
        """Keep the chunk's logits of the bout that goes on in the next, if any does."""
        last = self._met(start, logits_pwh)[-1]
        stop = start + len(logits_pwh)
        if last.stop > stop:
            low = max(last.start, start)
            self._room(logits_pwh)[low - last.start : stop - last.start] = logits_pwh[low - start :]

    def _met(self, start: int, logits_pwh: torch.Tensor) -> list[Bout]:
        """Those with any row of the chunk."""
        stop = start + len(logits_pwh)
        return self._bouts[bisect_right(self._starts, start) - 1 : bisect_right(self._starts, stop - 1)]

    def _room(self, logits_pwh: torch.Tensor) -> torch.Tensor:
        """float32 [m, w, h] for the largest bout."""
        if self._begun is None:
            largest = max(len(bout.rows) for bout in self._bouts)
            self._begun = logits_pwh.new_empty(largest, *logits_pwh.shape[1:])
        return self._begun


class Decided:
    """The bouts that one chunk of the decoder completes. want_logits: whether those of the prompts are kept."""

    def __init__(self, want_logits: bool) -> None:
        self._want_logits = want_logits
        self._bouts: list[Bout] = []
        self._maps: list[torch.Tensor] = []
        self._extremes: list[torch.Tensor] = []
        self._logits: list[torch.Tensor] = []

    def __len__(self) -> int:
        return len(self._bouts)

    def add(self, bout: Bout, logits_mwh: torch.Tensor) -> None:
        """One more. logits_mwh: float32, of its prompts on the device; may be written over afterwards."""
        logits_mn = logits_mwh.flatten(1)
        self._bouts.append(bout)
        self._maps.append(bout.verdict.maps(logits_mn).unflatten(1, logits_mwh.shape[1:]))
        self._extremes.append(torch.stack(logits_mn.aminmax(dim=1), 1))
        if self._want_logits:
            self._logits.append(logits_mwh.clone())

    @property
    def answers(self) -> Answers:
        """The rows of masks."""
        parts = [bout.answers for bout in self._bouts]
        return Answers(
            image_index_p=np.concatenate([part.image_index_p for part in parts]),
            query_index_p=np.concatenate([part.query_index_p for part in parts]),
            limit_p=np.concatenate([part.limit_p for part in parts]),
        )

    @property
    def rows(self) -> Rows:
        """The prompts' rows."""
        parts = [bout.rows for bout in self._bouts]
        features, prompts = ([getattr(part, name) for part in parts] for name in ("feature_index_p", "prompt_index_p"))
        return Rows.as_given((np.concatenate(features), np.concatenate(prompts)))

    @property
    def maps_pwh(self) -> torch.Tensor:
        """float32, on the device: the maps of the answers."""
        return self._maps[0] if len(self._maps) == 1 else torch.cat(self._maps)

    @property
    def extremes_m2(self) -> torch.Tensor:
        """float32, on the device: the lowest and the highest logit of each of ``rows``; NaN if any is."""
        return torch.cat(self._extremes)

    def presence(self, cosine_m: torch.Tensor) -> torch.Tensor:
        """[p]: of the answers, from those of ``rows``."""
        own = cosine_m.split([len(bout.rows) for bout in self._bouts])
        return torch.cat([bout.verdict.presence(part) for bout, part in zip(self._bouts, own, strict=True)])

    def finish(self, block: Block, extremes_m2: np.ndarray, fetch: Callable[[torch.Tensor], np.ndarray]) -> None:
        """Fill what a block of these answers has besides. fetch: logits on the device → on the host.

        Where a prompt's logits are not finite, no query of its contest has a maximum.
        """
        met, first_row, start = [], 0, 0
        for number, bout in enumerate(self._bouts):
            own_m2 = extremes_m2[first_row : first_row + len(bout.rows)]
            first_row += len(bout.rows)
            finite_m = np.isfinite(own_m2).all(1)
            if not finite_m.all():
                block.max_logit_p[start : start + len(bout.answers)] = np.nan
                if block.unsound_prompt is None:
                    block.unsound_prompt = int(bout.rows.prompt_index_p[np.argmin(finite_m)])
            logits_mwh = None
            if self._want_logits and bout.verdict.reaches(own_m2[:, 1], bout.answers.limit_p):
                logits_mwh = fetch(self._logits[number])
            met.append(Met(bout.contest, start, logits_mwh))
            start += len(bout.answers)
        block.met = tuple(met)
