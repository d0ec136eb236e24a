"""Our way from encoded JPEGs to columns of masks, as a Segmenter takes it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from clipseg_ray.masks.columns import columns
from clipseg_ray.masks.rle import encode_bits
from clipseg_ray.model.block import Block
from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.model.precision import default_batching
from clipseg_ray.model.protocol import Prompts
from clipseg_ray.pixels.decode import Mode, decode


class Ours:
    """Engine and checkpoint of one run, and the seconds each step has taken."""

    def __init__(self, checkpoint: Checkpoint, device: str, precision: str, compile: bool) -> None:
        batch, decode_chunk = default_batching(device, precision)
        self.preprocessing = checkpoint.preprocessing
        model = make_model(
            checkpoint, device=device, precision=precision, compile=compile, batch=batch, decode_chunk=decode_chunk
        )
        self.engine = Engine(model)
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def pixels(self, jpegs: Sequence[bytes], mode: Mode = "fast") -> np.ndarray:
        """uint8 [b, S, S, 3]."""
        return np.stack([decode(jpeg, self.preprocessing, mode).pixels_hwc for jpeg in jpegs])

    def blocks(self, pixels_bhwc: np.ndarray, prompts: Prompts) -> Iterator[Block]:
        """The engine's blocks, with the usual threshold of 0.5 for every query."""
        return self.engine.segment(pixels_bhwc, prompts, np.zeros(len(prompts), np.float32))

    def alone(self, pixels_bhwc: np.ndarray, prompts: Prompts) -> None:
        """The engine by itself. Its blocks are let go at once: on a GPU those kept would pin ever more memory."""
        for _ in self.blocks(pixels_bhwc, prompts):
            pass

    def rows(self, jpegs: Sequence[bytes], prompts: Prompts) -> list[dict[str, pa.Array]]:
        """Everything: decode, segment, run lengths, columns."""
        started = time.perf_counter()
        pixels_bhwc = self.pixels(jpegs)
        found = []
        started = self._lap("decode", started)
        for block in self.blocks(pixels_bhwc, prompts):
            started = self._lap("segment", started)
            found.append(self.columns(block))
            started = self._lap("rle", started)
        self._lap("segment", started)
        return found

    def masks_pn(self, pixels_bhwc: np.ndarray, prompts: Prompts) -> np.ndarray:
        """The masks themselves, bool [b·q, w·h] in COCO's column-major order."""
        height, width = self.engine.grid
        bits_pn = np.concatenate([block.bits_pn for block in self.blocks(pixels_bhwc, prompts)])
        return np.unpackbits(bits_pn, axis=1, count=height * width, bitorder="little").astype(np.bool_)

    def columns(self, block: Block) -> dict[str, pa.Array]:
        """One block's columns of the masks table."""
        rles = encode_bits(block.bits_pn, *self.engine.grid, block.max_logit_p > 0)
        return columns(rles, *self.engine.grid, block.max_logit_p, block.probability_sum_p)

    def _lap(self, step: str, started: float) -> float:
        now = time.perf_counter()
        self.seconds[step] += now - started
        return now


def block_bytes(block: Any) -> int:
    """What crossed from the device to the host for a block."""
    return block.bits_pn.nbytes + block.max_logit_p.nbytes + block.probability_sum_p.nbytes
