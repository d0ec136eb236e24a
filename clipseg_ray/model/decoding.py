"""(image, query) rows through the model, a chunk at a time, and what comes out on its way to the host."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from clipseg_ray.model import stage
from clipseg_ray.model.block import Block
from clipseg_ray.model.protocol import DeviceRows, Features, Prompts, SegmentationModel
from clipseg_ray.model.rows import Rows
from clipseg_ray.model.transfer import Link, Pending

_T = TypeVar("_T")
_LOGITS_AT_ONCE = 16


@dataclass
class Launched:
    """A chunk of rows whose results are on their way; `logits_pwh` stay on the device until `finish`."""

    rows: Rows
    pending: Pending
    logits_pwh: torch.Tensor | None


class Decoding:
    """Rows → logits or packed masks, at most ``headroom.decode_chunk`` at a time.

    optional: settings of the columns to fill besides, by name.
    """

    def __init__(self, model: SegmentationModel, link: Link, optional: Mapping[str, Any]) -> None:
        self._model, self._link, self._headroom = model, link, model.headroom
        self._optional = optional
        self._masks = model.staged(stage.packing(link.device))

    def logits(self, features: Features, prompts: Prompts, rows: Rows) -> Iterator[torch.Tensor]:
        """Float32 [≤ decode_chunk, w, h] at a time, in the order of the rows, valid until the next."""

        def run(chunk: Rows) -> torch.Tensor:
            (index_np,) = self._link.upload(_indices(chunk)).take()
            return self._model.logits(features, DeviceRows(prompts, *index_np)).float()

        return self._chunks(rows, run)

    def masks(self, features: Features, prompts: Prompts, rows: Rows, want_logits: bool) -> Iterator[Launched]:
        """Chunks of at most `decode_chunk` rows, each set going when it is asked for."""
        return self._chunks(rows, lambda chunk: self._launch(features, prompts, chunk, want_logits))

    def finish(self, launched: Launched) -> Block:
        """Wait for the results of a chunk, and fetch the logits of its masks that are not empty."""
        rows = launched.rows
        bits_pn, max_logit_p, probability_sum_p, *optional = launched.pending.wait()
        block = Block(
            image_index_p=rows.image_index_p,
            query_index_p=rows.query_index_p,
            bits_pn=bits_pn,
            max_logit_p=max_logit_p,
            probability_sum_p=probability_sum_p,
            optional=dict(zip(self._optional, optional, strict=True)),
        )
        if launched.logits_pwh is not None:
            row_k = np.flatnonzero(max_logit_p > rows.limit_p)
            pieces = [row_k[start : start + _LOGITS_AT_ONCE] for start in range(0, len(row_k), _LOGITS_AT_ONCE)]
            _, width, height = launched.logits_pwh.shape
            logits_kwh = np.empty((len(row_k), width, height), np.float32)
            for number, piece in enumerate(pieces):
                start = number * _LOGITS_AT_ONCE
                logits_kwh[start : start + len(piece)] = self._fetch(launched.logits_pwh, piece)
            block.logits_row_k, block.logits_kwh = row_k, logits_kwh
        return block

    def _chunks(self, rows: Rows, run: Callable[[Rows], _T]) -> Iterator[_T]:
        """`run` on chunk after chunk; one that finds memory short is run again in halves."""
        start = 0
        while start < len(rows):
            chunk = rows[start : start + self._headroom.decode_chunk]
            try:
                with torch.no_grad():
                    done = run(chunk)
            except RuntimeError as error:
                self._headroom.fewer_rows(error)
                continue
            yield done
            start += len(chunk)

    def _launch(self, features: Features, prompts: Prompts, rows: Rows, want_logits: bool) -> Launched:
        index_np, limit_p = self._link.upload(_indices(rows), torch.from_numpy(rows.limit_p)).take()
        on_device = DeviceRows(prompts, *index_np)
        logits_pwh, *results = self._masks(features, on_device, limit_p)
        results += stage.fill(stage.Answered(self._model, features, on_device, logits_pwh), self._optional)
        kept = None
        if want_logits:  # the next run writes over a GPU's
            kept = logits_pwh.clone() if self._link.cuda else logits_pwh
        return Launched(rows, self._link.download(*results), kept)

    def _fetch(self, logits_pwh: torch.Tensor, rows_k: np.ndarray) -> np.ndarray:
        """Float32 [k, w, h] on the host."""
        while True:
            try:
                with torch.no_grad():
                    (index_k,) = self._link.upload(torch.from_numpy(rows_k)).take()
                    return logits_pwh[index_k].float().cpu().numpy()
            except RuntimeError as error:
                self._headroom.fewer_rows(error)


def _indices(rows: Rows) -> torch.Tensor:
    """int64 [2, p]: the rows' features and queries."""
    return torch.from_numpy(np.stack([rows.feature_index_p, rows.query_index_p]))
