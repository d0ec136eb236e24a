"""Images of several views, one after the other: windows encoded, their logits merged on the device.

An image's maps are made for some queries at a time, so memory depends neither on the queries nor on the windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from clipseg_ray.model.bouts import Bout, Contests, Decided
from clipseg_ray.model.decoding import Decoding, Launched
from clipseg_ray.model.encoding import Encoding
from clipseg_ray.model.merging import Merging, enlarged
from clipseg_ray.model.protocol import Features, Prompts, SegmentationModel
from clipseg_ray.model.rows import Rows, product
from clipseg_ray.pixels.viewed_images import ViewedImages
from clipseg_ray.pixels.views import Views

_MAPS_BYTES = 32 * 2**20
"""Of the merged maps that are made together."""


@dataclass(frozen=True)
class ViewedFeatures:
    """What ``Engine.encode`` makes of ``ViewedImages``.

    whole: of every image. windows: of each image that has tiles, else None.
    """

    tiles_b: np.ndarray
    whole: Features
    windows: tuple[Features | None, ...]

    def __len__(self) -> int:
        return len(self.windows)


@dataclass(frozen=True)
class _Sight:
    """One image. whole: features of one; windows: of all its windows, in the order of ``merging``."""

    merging: Merging
    whole: Features
    windows: Features


class Viewing:
    """Images of more than one tile, for a model whose grid is its input's size."""

    def __init__(self, model: SegmentationModel, encoding: Encoding, decoding: Decoding, views: Views) -> None:
        self._model, self._encoding, self._decoding, self._views = model, encoding, decoding, views
        self._size = model.grid[0]
        self._mergings: dict[int, Merging] = {}

    def encode(self, images: ViewedImages) -> ViewedFeatures:
        """All that any query needs of the images."""
        parts = list(self._encoded(images, np.arange(len(images))))
        windows = tuple(each for _, own in parts for each in own)
        return ViewedFeatures(images.tiles_b, self._model.joined([whole for whole, _ in parts]), windows)

    def launched(
        self,
        images: ViewedImages | ViewedFeatures,
        number_b: np.ndarray,
        prompts: Prompts,
        *,
        rows: Rows,
        contests: Contests,
        want_logits: bool,
    ) -> Iterator[Launched]:
        """Rows of ``number_b``, places of images that have tiles; ``rows`` have their features in that order."""
        for place, sight in enumerate(self._sights(images, number_b)):
            most = max(1, _MAPS_BYTES // (4 * sight.merging.side**2))

            def alone(_: int, part: Rows, sight: _Sight = sight) -> Launched:
                maps_pwh = self._merged(sight, prompts, part.prompt_index_p)
                return self._decoding.launch_maps(sight.whole, prompts, part, maps_pwh, want_logits)

            def decided(_: int, bouts: list[Bout], sight: _Sight = sight, most: int = most) -> Launched:
                return self._decided(sight, prompts, bouts[0], most, want_logits)

            yield from self._decoding.chunks(rows.of_features(place, 1), alone, most)
            yield from self._decoding.chunks(list(contests.bouts(place, 1)), decided, 1)

    def _decided(self, sight: _Sight, prompts: Prompts, bout: Bout, most: int, want_logits: bool) -> Launched:
        """A contest needs the maps of all its prompts at once."""
        prompt_m = bout.rows.prompt_index_p
        parts = [
            self._merged(sight, prompts, prompt_m[start : start + most]) for start in range(0, len(prompt_m), most)
        ]
        decided = Decided(want_logits)
        decided.add(bout, torch.cat(parts))
        return self._decoding.launch_decided(sight.whole, prompts, decided)

    def _merged(self, sight: _Sight, prompts: Prompts, prompt_k: np.ndarray) -> torch.Tensor:
        """Float32 [k, T, T], transposed, on the device: logits of one image with some prompts."""
        merging, side = sight.merging, sight.merging.side
        tiles_kwh = torch.zeros(len(prompt_k), side, side, device=self._model.headroom.device)
        windows, place = product(len(merging), len(prompt_k))
        first = 0
        for logits_pwh in self._decoding.logits(sight.windows, prompts, Rows.as_given((windows, prompt_k[place]))):
            done = 0
            while done < len(logits_pwh):
                window, query = divmod(first + done, len(prompt_k))
                count = min(len(prompt_k) - query, len(logits_pwh) - done)
                merging.add(tiles_kwh[query : query + count], window, logits_pwh[done : done + count])
                done += count
            first += done
        if not self._views.whole:
            return tiles_kwh
        start = 0
        for logits_pwh in self._decoding.logits(
            sight.whole, prompts, Rows.as_given((np.zeros(len(prompt_k), np.int64), prompt_k))
        ):
            tiles_kwh[start : start + len(logits_pwh)] += enlarged(logits_pwh, side)
            start += len(logits_pwh)
        return tiles_kwh.mul_(0.5)

    def _sights(self, images: ViewedImages | ViewedFeatures, number_b: np.ndarray) -> Iterator[_Sight]:
        if isinstance(images, ViewedFeatures):
            for number in number_b.tolist():
                windows = images.windows[number]
                assert windows is not None, "an image without tiles"
                merging = self._merging(int(images.tiles_b[number]))
                yield _Sight(merging, images.whole[number : number + 1], windows)
            return
        first = 0
        for whole, windows_of in self._encoded(images, number_b):
            for place, windows in enumerate(windows_of):
                assert windows is not None, "an image without tiles"
                merging = self._merging(int(images.tiles_b[number_b[first + place]]))
                yield _Sight(merging, whole[place : place + 1], windows)
            first += len(whole)

    def _encoded(self, images: ViewedImages, number_b: np.ndarray) -> Iterator[tuple[Features, list[Features | None]]]:
        """Features of some images at a time: of the whole ones, and of the windows of each that has tiles."""
        first = 0
        for whole in self._encoding.features(images.whole_bhwc[number_b]):
            own = number_b[first : first + len(whole)]
            first += len(whole)
            tiled = own[images.tiles_b[own] > 1]
            cut = [self._merging(int(images.tiles_b[each])).cut(torch.as_tensor(images.finest(each))) for each in tiled]
            windows: dict[int, Features] = {}
            if cut:
                joined = self._model.joined(list(self._encoding.features(torch.cat(cut))))
                stop = np.cumsum([len(each) for each in cut])
                windows = {
                    int(number): joined[end - len(each) : end]
                    for number, each, end in zip(tiled, cut, stop.tolist(), strict=True)
                }
            yield whole, [windows.get(int(number)) for number in own]

    def _merging(self, tiles: int) -> Merging:
        if tiles not in self._mergings:
            self._mergings[tiles] = Merging(self._views, tiles, self._size, self._model.headroom.device)
        return self._mergings[tiles]
