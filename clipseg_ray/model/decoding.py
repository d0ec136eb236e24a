"""(image, query) rows through the decoder, a chunk at a time, and what comes out on its way to the host."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from clipseg_ray.masks import packing_kernel
from clipseg_ray.masks.heat import quantised
from clipseg_ray.masks.threshold import Packed, pack
from clipseg_ray.model import feedforward_kernel
from clipseg_ray.model.block import Block
from clipseg_ray.model.decoder import Decoder, Film
from clipseg_ray.model.encoder import Features
from clipseg_ray.model.headroom import Headroom
from clipseg_ray.model.program import Program, padded
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


class DecodeAndPack(nn.Module):
    """Decoder and `pack` in one: logits [p, w, h], bits [p, n], maxima [p], probability sums [p]."""

    def __init__(self, decoder: Decoder, pack: Callable[[torch.Tensor, torch.Tensor], Packed]) -> None:
        super().__init__()
        self.decoder, self.pack = decoder, pack

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        *decoder_inputs, threshold_logit_p = inputs
        logits_pwh = self.decoder(*decoder_inputs)
        return (logits_pwh, *self.pack(logits_pwh, threshold_logit_p))


class Decoding:
    """Rows → logits or packed masks, at most ``headroom.decode_chunk`` at a time.

    On a CPU packing is machine code of its own (see `pack`); on a GPU it belongs to what is captured.
    heat: side of the probability map that each mask comes with, if any.
    """

    def __init__(
        self, decoder: Decoder, link: Link, headroom: Headroom, compile: bool, heat: int | None = None
    ) -> None:
        self._link, self._headroom, self._heat = link, headroom, heat
        self._logits = Program(decoder, link.device, compile)
        headroom.programs.append(self._logits)
        self._masks: Program | None = None
        if link.cuda:
            feedforward_kernel.choose(decoder.blocks)
            self._masks = Program(DecodeAndPack(decoder, packing_kernel.choose(link.device)), link.device, compile)
            headroom.programs.append(self._masks)

    def logits(self, features: Features, film: Film, rows: Rows) -> Iterator[torch.Tensor]:
        """Float32 [≤ decode_chunk, w, h] at a time, in the order of the rows, valid until the next."""

        def run(chunk: Rows) -> torch.Tensor:
            (logits_pwh,), _, _ = self._run(self._logits, features, film, chunk)
            return logits_pwh[: len(chunk)].float()

        return self._chunks(rows, run)

    def masks(self, features: Features, film: Film, rows: Rows, want_logits: bool) -> Iterator[Launched]:
        """Chunks of at most `decode_chunk` rows, each set going when it is asked for."""
        return self._chunks(rows, lambda chunk: self._launch(features, film, chunk, want_logits))

    def finish(self, launched: Launched) -> Block:
        """Wait for the results of a chunk, and fetch the logits of its masks that are not empty."""
        rows = launched.rows
        bits_pn, max_logit_p, probability_sum_p, *optional = launched.pending.wait()
        block = Block(rows.image_index_p, rows.query_index_p, bits_pn, max_logit_p, probability_sum_p)
        if self._heat is not None:
            block.heat_phw = optional.pop(0)
        if optional:
            (block.presence_p,) = optional
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

    def _launch(self, features: Features, film: Film, rows: Rows, want_logits: bool) -> Launched:
        count = len(rows)
        if self._masks is None:
            (logits_pwh,), images_p, queries_p = self._run(self._logits, features, film, rows)
            results = list(pack(logits_pwh[:count], torch.as_tensor(rows.limit_p)))
        else:
            outputs, images_p, queries_p = self._run(self._masks, features, film, rows, rows.limit_p)
            logits_pwh, *results = (output[:count] for output in outputs)
        if self._heat is not None:
            results.append(quantised(logits_pwh[:count], self._heat))
        if features.embedding_bc is not None:
            towards_pc = nn.functional.normalize(features.embedding_bc[images_p], dim=-1)
            results.append((towards_pc * film.direction_qc[queries_p]).sum(-1))
        kept = None
        if want_logits:  # the next run writes over a GPU's
            kept = logits_pwh[:count].clone() if self._link.cuda else logits_pwh[:count]
        return Launched(rows, self._link.download(*results), kept)

    def _run(
        self, program: Program, features: Features, film: Film, rows: Rows, *limit_p: np.ndarray
    ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor, torch.Tensor]:
        """`program`'s outputs for one chunk, and the rows' features and queries as int64 [p] on the device.

        Where shapes are static the outputs have rows of padding at their end.
        """
        index_np = torch.from_numpy(np.stack([rows.feature_index_p, rows.query_index_p]))
        index_np, *limits = self._link.upload(index_np, *map(torch.from_numpy, limit_p)).take()
        images_p, queries_p = index_np
        taps_kbtd = features.taps_kbtd
        inputs = [images_p, film.mul_qd[queries_p], film.add_qd[queries_p], *limits]
        if program.static:
            if len(features) < self._headroom.batch:
                taps_kbtd = padded(taps_kbtd.transpose(0, 1), self._headroom.batch).transpose(0, 1)
            taps_kbtd = taps_kbtd.contiguous()
            size = self._size(len(rows))
            inputs = [padded(tensor, size) for tensor in inputs]
        return program(taps_kbtd, *inputs), images_p, queries_p

    def _size(self, rows: int) -> int:
        """The smallest size rows are padded to: the full chunk, and on a GPU also its halves down to an eighth."""
        size = self._headroom.decode_chunk
        if self._link.cuda:
            for _ in range(3):
                if size % 2 == 0 and size // 2 >= rows:
                    size //= 2
        return size

    def _fetch(self, logits_pwh: torch.Tensor, rows_k: np.ndarray) -> np.ndarray:
        """Float32 [k, w, h] on the host."""
        while True:
            try:
                with torch.no_grad():
                    (index_k,) = self._link.upload(torch.from_numpy(rows_k)).take()
                    return logits_pwh[index_k].float().cpu().numpy()
            except RuntimeError as error:
                self._headroom.fewer_rows(error)
