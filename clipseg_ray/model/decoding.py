"""(image, prompt) rows through the model, a chunk at a time, and what comes out on its way to the host."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from clipseg_ray.masks.guided import Guide, GuidedFilter
from clipseg_ray.model import stage
from clipseg_ray.model.block import Block
from clipseg_ray.model.bouts import Bouts, Decided
from clipseg_ray.model.protocol import DeviceRows, Features, Prompts, SegmentationModel
from clipseg_ray.model.rows import Answers, Rows
from clipseg_ray.model.transfer import Link, Pending

_T = TypeVar("_T")
_S = TypeVar("_S", bound=Sequence[Any] | Rows)
_LOGITS_AT_ONCE = 16


@dataclass(kw_only=True)
class Launched:
    """Rows whose results are on their way; `logits_pwh` stay on the device until `finish`.

    grid: (height, width) of their maps. decided: the contests that the rows are of, or none.
    """

    rows: Answers
    grid: tuple[int, int]
    pending: Pending
    logits_pwh: torch.Tensor | None
    decided: Decided | None = None


class Decoding:
    """Rows → logits or packed masks, at most ``headroom.decode_chunk`` at a time.

    optional: settings of the columns to fill besides, by name. refine: what is done to logits where a guide is given.
    """

    def __init__(
        self, model: SegmentationModel, link: Link, optional: Mapping[str, Any], refine: GuidedFilter | None = None
    ) -> None:
        self._model, self._link, self._headroom = model, link, model.headroom
        self._optional, self._refine = optional, refine
        self._pack = stage.packing(link.device)
        self._masks = model.staged(self._pack)

    def logits(self, features: Features, prompts: Prompts, rows: Rows) -> Iterator[torch.Tensor]:
        """Float32 [≤ decode_chunk, w, h] at a time, in the order of the rows, valid until the next."""
        return self.chunks(rows, lambda _, chunk: self._logits(features, prompts, chunk))

    def masks(
        self, features: Features, prompts: Prompts, rows: Rows, want_logits: bool, guide: Guide | None = None
    ) -> Iterator[Launched]:
        """Chunks of at most `decode_chunk` rows, each set going when it is asked for."""
        return self.chunks(rows, lambda _, chunk: self._launch(features, prompts, chunk, want_logits, guide))

    def contests(
        self, features: Features, prompts: Prompts, bouts: Bouts, want_logits: bool, guide: Guide | None = None
    ) -> Iterator[Launched]:
        """The answers of every bout, together those that a chunk of at most `decode_chunk` rows completes.

        What is refined are the prompts' logits: who wins a pixel is decided after it, so that it has one winner still.
        """

        def run(start: int, chunk: Rows) -> Launched | None:
            logits_pwh = self._logits(features, prompts, chunk)
            if self._refine is not None and guide is not None:
                (feature_index_p,) = self._link.upload(torch.from_numpy(chunk.feature_index_p)).take()
                logits_pwh = self._refine.refined(logits_pwh, guide, feature_index_p)
            decided = bouts.completed(start, logits_pwh, want_logits)
            launched = self.launch_decided(features, prompts, decided) if len(decided) else None
            # Last: a chunk that finds memory short is run again, and needs what earlier ones began.
            bouts.begin(start, logits_pwh)
            return launched

        return (launched for launched in self.chunks(bouts.rows, run) if launched is not None)

    def chunks(self, rows: _S, run: Callable[[int, _S], _T], most: int | None = None) -> Iterator[_T]:
        """`run` on where a chunk begins and the chunk; one that finds memory short is run again in halves.

        A chunk is at most `headroom.decode_chunk` rows, or `most` where that is less.
        """
        start = 0
        while start < len(rows):
            size = self._headroom.decode_chunk
            chunk: Any = rows[start : start + (size if most is None else min(size, most))]
            try:
                with torch.no_grad():
                    done = run(start, chunk)
            except RuntimeError as error:
                self._headroom.fewer_rows(error)
                continue
            yield done
            start += len(chunk)

    def launch_maps(
        self, features: Features, prompts: Prompts, rows: Rows, logits_pwh: torch.Tensor, want_logits: bool
    ) -> Launched:
        """Set packing going for maps that are there: float32, on the device, one for each row, lasting where wanted.

        features: those the rows are of, for the optional columns.
        """
        index_np, limit_p = self._link.upload(_indices(rows), torch.from_numpy(rows.limit_p)).take()
        answered = stage.Answered(
            model=self._model, features=features, rows=DeviceRows(prompts, *index_np), logits_pwh=logits_pwh
        )
        results = [*self._pack(logits_pwh, limit_p), *stage.fill(answered, self._optional)]
        pending = self._link.download(*results)
        kept = logits_pwh if want_logits else None
        return Launched(rows=rows, grid=_grid(logits_pwh), pending=pending, logits_pwh=kept)

    def launch_decided(self, features: Features, prompts: Prompts, decided: Decided) -> Launched:
        """The same for the maps of queries that contests have decided."""
        answers = decided.answers
        index_np, limit_p = self._link.upload(_indices(decided.rows), torch.from_numpy(answers.limit_p)).take()
        answered = stage.Answered(
            model=self._model,
            features=features,
            rows=DeviceRows(prompts, *index_np),
            logits_pwh=decided.maps_pwh,
            of_queries=decided.presence,
        )
        results = [*self._pack(answered.logits_pwh, limit_p), *stage.fill(answered, self._optional)]
        pending = self._link.download(*results, decided.extremes_m2)
        grid = _grid(answered.logits_pwh)
        return Launched(rows=answers, grid=grid, pending=pending, logits_pwh=None, decided=decided)

    def finish(self, launched: Launched) -> Block:
        """Wait for the results, and fetch the logits of masks that are not empty, or those of their contests."""
        rows = launched.rows
        bits_pn, max_logit_p, probability_sum_p, *further = launched.pending.wait()
        block = Block(
            grid=launched.grid,
            image_index_p=rows.image_index_p,
            query_index_p=rows.query_index_p,
            bits_pn=bits_pn,
            max_logit_p=max_logit_p,
            probability_sum_p=probability_sum_p,
            optional=dict(zip(self._optional, further, strict=launched.decided is None)),
        )
        if launched.decided is not None:
            launched.decided.finish(block, further[-1], self._fetch_all)
        elif launched.logits_pwh is not None:
            block.logits_row_k = np.flatnonzero(max_logit_p > rows.limit_p)
            block.logits_kwh = self._fetch(launched.logits_pwh, block.logits_row_k)
        return block

    def _logits(self, features: Features, prompts: Prompts, chunk: Rows) -> torch.Tensor:
        (index_np,) = self._link.upload(_indices(chunk)).take()
        return self._model.logits(features, DeviceRows(prompts, *index_np)).float()

    def _launch(
        self, features: Features, prompts: Prompts, rows: Rows, want_logits: bool, guide: Guide | None
    ) -> Launched:
        index_np, limit_p = self._link.upload(_indices(rows), torch.from_numpy(rows.limit_p)).take()
        on_device = DeviceRows(prompts, *index_np)
        if self._refine is None or guide is None:
            logits_pwh, *results = self._masks(features, on_device, limit_p)
        else:
            coarse_pwh = self._model.logits(features, on_device).float()
            logits_pwh = self._refine.refined(coarse_pwh, guide, on_device.image_index_p, limit_p)
            results = [*self._pack(logits_pwh, limit_p)]
        answered = stage.Answered(model=self._model, features=features, rows=on_device, logits_pwh=logits_pwh)
        results += stage.fill(answered, self._optional)
        kept = None
        if want_logits:  # the next run writes over a GPU's
            kept = logits_pwh.clone() if self._link.cuda else logits_pwh
        pending = self._link.download(*results)
        return Launched(rows=rows, grid=_grid(logits_pwh), pending=pending, logits_pwh=kept)

    def _fetch(self, logits_pwh: torch.Tensor, row_k: np.ndarray) -> np.ndarray:
        """Float32 [k, w, h] on the host."""
        logits_kwh = np.empty((len(row_k), *logits_pwh.shape[1:]), np.float32)
        for start in range(0, len(row_k), _LOGITS_AT_ONCE):
            piece = slice(start, start + _LOGITS_AT_ONCE)
            logits_kwh[piece] = self._fetch_few(logits_pwh, row_k[piece])
        return logits_kwh

    def _fetch_all(self, logits_pwh: torch.Tensor) -> np.ndarray:
        return self._fetch(logits_pwh, np.arange(len(logits_pwh))) if self._link.cuda else logits_pwh.numpy()

    def _fetch_few(self, logits_pwh: torch.Tensor, row_k: np.ndarray) -> np.ndarray:
        while True:
            try:
                with torch.no_grad():
                    (index_k,) = self._link.upload(torch.from_numpy(row_k)).take()
                    return logits_pwh[index_k].float().cpu().numpy()
            except RuntimeError as error:
                self._headroom.fewer_rows(error)


def _indices(rows: Rows) -> torch.Tensor:
    """int64 [2, p]: the rows' features and prompts."""
    return torch.from_numpy(np.stack([rows.feature_index_p, rows.prompt_index_p]))


def _grid(logits_pwh: torch.Tensor) -> tuple[int, int]:
    """(height, width)."""
    return logits_pwh.shape[2], logits_pwh.shape[1]
