"""Batches of a training step, prepared on threads while the step before is computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from clipseg_ray.pixels.preprocessing import Preprocessing
from clipseg_ray.queries.composition import compose
from clipseg_ray.queries.modes import Mode
from clipseg_ray.training.collection import Collection
from clipseg_ray.training.colour_jitter import jittered
from clipseg_ray.training.config import SamplingConfig
from clipseg_ray.training.cropping import View, random_crop
from clipseg_ray.training.sampling import Draw, Sampler
from clipseg_ray.training.squashing import cover, squash_image, squash_masks

_AHEAD = 2
"""Steps prepared in advance."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B images, K queries asked of each (R = B·K rows, image by image), M of them with a picture prompt.

    pixels: uint8 [B, S, S, 3]. prompts: float32 [M, 3, S, S], normalised. labels: bool [R, S, S]. texts: the distinct
    ones, and text_r int64 [R] which is each row's. prompt_row_m: int64 [M], the rows with a picture prompt.
    share_m: float32 [M], the prompt's share in the blend. query_m: int64 [M], which query it shows.

    Where patches are asked by themselves: wordings, a text for each of all Q queries; cover_tn: float32 [T, n·n], the
    share of each patch that each truth of the B images covers; image_t, query_t: int64 [T], whose it is.
    """

    pixels: torch.Tensor
    prompts: torch.Tensor
    labels: torch.Tensor
    texts: tuple[str, ...]
    text_r: torch.Tensor
    prompt_row_m: torch.Tensor
    share_m: torch.Tensor
    query_m: torch.Tensor
    wordings: tuple[str, ...] = ()
    cover_tn: torch.Tensor | None = None
    image_t: torch.Tensor | None = None
    query_t: torch.Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        moved: dict[str, Any] = {
            name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in vars(self).items()
        }
        return Batch(**moved)


@dataclass(frozen=True)
class _Item:
    pixels_hwc: np.ndarray
    labels_khw: np.ndarray
    prompts: dict[int, np.ndarray]
    cover_tn: np.ndarray | None


class Batches:
    """Prepares batches of draws over a collection."""

    def __init__(
        self,
        collection: Collection,
        preprocessing: Preprocessing,
        mode: Mode,
        sampling: SamplingConfig,
        *,
        threads: int,
        patches: int | None = None,
    ) -> None:
        """patches: patches a side, for batches that also hold what covers each patch."""
        self._collection = collection
        self._preprocessing = preprocessing
        self._mode = mode
        self._sampling = sampling
        self._threads = threads
        self._patches = patches

    def steps(self, sampler: Sampler, steps: range, images: int, *, rank: int, world: int) -> Iterator[Batch]:
        """The batches of a worker for some steps; all workers together draw ``images`` images a step."""
        share = images // world
        with ThreadPoolExecutor(self._threads, "batch", initializer=torch.set_num_threads, initargs=(1,)) as pool:
            window: deque[tuple[int, list[Draw], list[Future[_Item]]]] = deque()

            def collated() -> Batch:
                step, draws, futures = window.popleft()
                batch = self._collate(draws, [future.result() for future in futures])
                return batch if self._patches is None else replace(batch, wordings=sampler.wordings(step))

            try:
                for step in steps:
                    first = step * images + rank * share
                    draws = [sampler.draw(position) for position in range(first, first + share)]
                    window.append((step, draws, [pool.submit(self._item, draw) for draw in draws]))
                    if len(window) > _AHEAD:
                        yield collated()
                while window:
                    yield collated()
            finally:
                pool.shutdown(cancel_futures=True)

    def batch(self, draws: Sequence[Draw]) -> Batch:
        """The batch of these draws, prepared here and now; each has equally many rows."""
        return self._collate(draws, [self._item(draw) for draw in draws])

    def _item(self, draw: Draw) -> _Item:
        side = self._preprocessing.size
        pixels_hwc = self._collection.image(draw.image)
        present = [number for number, row in enumerate(draw.rows) if row.truth is not None]
        truths = [row.truth for row in draw.rows if row.truth is not None]
        height, width = pixels_hwc.shape[:2]
        masks_khw = self._collection.masks(truths) if truths else np.zeros((0, height, width), bool)
        rng = np.random.default_rng(draw.seed)
        view = self._view(draw, dict(zip(truths, masks_khw, strict=True)), (height, width), rng)
        labels_khw = np.zeros((len(draw.rows), side, side), bool)
        if present:
            labels_khw[present] = squash_masks(view.of_masks(masks_khw), side)
        prompts = {
            number: prompt
            for number, row in enumerate(draw.rows)
            if row.support is not None and (prompt := self._prompt(row.support, rng)) is not None
        }
        cover_tn = None
        if self._patches is not None:
            every = self._collection.truth.of(draw.image)
            every_thw = self._collection.masks(list(every)) if len(every) else np.zeros((0, height, width), bool)
            cover_tn = cover(view.of_masks(every_thw), self._patches)
        shown_hwc = self._coloured(squash_image(view.of_image(pixels_hwc), side), rng)
        return _Item(shown_hwc, labels_khw, prompts=prompts, cover_tn=cover_tn)

    def _view(self, draw: Draw, masks: dict[int, np.ndarray], shape: tuple[int, int], rng: np.random.Generator) -> View:
        """What of the image is shown. masks: those already decoded, by truth; shape: the image's height, width."""
        if not self._cropped(shape):
            return View(mirrored=self._mirrored(rng))
        anchor_hw = masks.get(draw.anchor)
        if anchor_hw is None:
            anchor_hw = self._collection.masks([draw.anchor])[0]
        return self._crop(anchor_hw, rng)

    def _cropped(self, shape: tuple[int, int]) -> bool:
        sampling = self._sampling
        square = sampling.crop_shape == "square" and shape[0] != shape[1]
        return sampling.crop and (square or sampling.crop_scale[0] < 1)

    def _crop(self, mask_hw: np.ndarray, rng: np.random.Generator) -> View:
        sampling = self._sampling
        rows, columns = random_crop(mask_hw, rng, sampling.crop_scale, square=sampling.crop_shape == "square")
        return View(rows, columns, self._mirrored(rng))

    def _mirrored(self, rng: np.random.Generator) -> bool:
        return bool(rng.random() < self._sampling.mirror)

    def _coloured(self, pixels_hwc: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return jittered(pixels_hwc, rng) if self._sampling.colour_jitter else pixels_hwc

    def _prompt(self, support: int, rng: np.random.Generator) -> np.ndarray | None:
        """The picture prompt of a truth, cut at random as images are; None where its mask has no pixel left."""
        mask_hw = self._collection.masks([support])[0]
        height, width = mask_hw.shape
        view = self._crop(mask_hw, rng) if self._cropped((height, width)) else View(mirrored=self._mirrored(rng))
        if not mask_hw[view.rows, view.columns].any():  # too small a thing for any square that was drawn
            view = View(mirrored=view.mirrored)
        masks_khw = view.of_masks(mask_hw[None])
        if not masks_khw.any():
            return None
        pixels_hwc = view.of_image(self._collection.image(int(self._collection.truth.image_t[support])))
        return compose(self._coloured(pixels_hwc, rng), masks_khw[0], self._mode, self._preprocessing)

    def _collate(self, draws: Sequence[Draw], items: Sequence[_Item]) -> Batch:
        side, asked = self._preprocessing.size, len(draws[0].rows)
        rows = [row for draw in draws for row in draw.rows]
        texts = {text: number for number, text in enumerate(dict.fromkeys(row.text for row in rows))}
        prompts = {b * asked + k: prompt for b, item in enumerate(items) for k, prompt in item.prompts.items()}
        stacked = np.stack(list(prompts.values())) if prompts else np.zeros((0, 3, side, side), np.float32)
        patches: dict[str, Any] = {}
        if self._patches is not None:
            truth = self._collection.truth
            every = [truth.of(draw.image) for draw in draws]
            patches["cover_tn"] = torch.from_numpy(np.concatenate([item.cover_tn for item in items]))
            patches["image_t"] = torch.tensor([b for b, held in enumerate(every) for _ in held])
            patches["query_t"] = torch.tensor([int(truth.query_t[each]) for held in every for each in held])
        return Batch(
            pixels=torch.from_numpy(np.stack([item.pixels_hwc for item in items])),
            prompts=torch.from_numpy(stacked),
            labels=torch.from_numpy(np.concatenate([item.labels_khw for item in items])),
            texts=tuple(texts),
            text_r=torch.tensor([texts[row.text] for row in rows]),
            prompt_row_m=torch.tensor(list(prompts), dtype=torch.int64),
            share_m=torch.tensor([rows[r].share for r in prompts], dtype=torch.float32),
            query_m=torch.tensor([rows[r].query for r in prompts], dtype=torch.int64),
            **patches,
        )
