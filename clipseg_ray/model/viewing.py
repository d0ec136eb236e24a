"""Images of several views, one after the other: windows encoded, their logits merged on the device.

An image's maps are made for some queries at a time, so memory depends neither on the queries nor on the windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeAlias

import numpy as np
import torch

from clipseg_ray.masks.guided import GuidedFilter
from clipseg_ray.masks.logit import logit_of
from clipseg_ray.model.bouts import Bout, Contests, Decided
from clipseg_ray.model.decoding import Decoding, Launched
from clipseg_ray.model.encoding import Encoding
from clipseg_ray.model.merging import Merging, enlarged
from clipseg_ray.model.protocol import DeviceRows, Features, Prompts, SegmentationModel
from clipseg_ray.model.rows import Rows, product
from clipseg_ray.model.transfer import Link
from clipseg_ray.pixels.viewed_images import ViewedImages
from clipseg_ray.pixels.views import Views

_MAPS_BYTES = 32 * 2**20
"""Of the merged maps that are made together."""


Windows: TypeAlias = Callable[[], Features]
"""Gives the features of all windows of an image."""


@dataclass(frozen=True)
class ViewedFeatures:
    """What ``Engine.encode`` makes of ``ViewedImages``.

    whole: of every image. windows: what gives those of each image that has tiles, else None. images: what they were
    made of, by which logits are refined.
    """

    whole: Features
    windows: tuple[Windows | None, ...]
    images: ViewedImages

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, part: slice) -> ViewedFeatures:
        """Consecutive images; nothing is copied."""
        return ViewedFeatures(self.whole[part], self.windows[part], self.images[part])

    @property
    def tiles_b(self) -> np.ndarray:
        """Tiles a side of each image."""
        return self.images.tiles_b


@dataclass(frozen=True, kw_only=True)
class _Sight:
    """One image. whole: features of one; windows: of all its windows, in the order of ``merging``.

    refined: (logits, thresholds as logits or None) → logits that follow the picture's borders, where any are to. room:
    for maps while they are made, of one call.
    """

    merging: Merging
    whole: Features
    windows: Windows
    refined: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
    room: _Room


class _Room:
    """Memory that is used again and again: what is taken anew for every few prompts scatters over the heap."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._flat: dict[str, torch.Tensor] = {}

    def of(self, what: str, maps: int, side: int) -> torch.Tensor:
        """Float32 [maps, side, side], valid until the same is asked for again; not cleared."""
        values = maps * side**2
        if what not in self._flat or len(self._flat[what]) < values:
            self._flat[what] = torch.empty(values, device=self._device)
        return self._flat[what][:values].view(maps, side, side)


class Viewing:
    """Images of more than one tile, for a model whose grid is its input's size."""

    def __init__(
        self,
        model: SegmentationModel,
        encoding: Encoding,
        decoding: Decoding,
        *,
        views: Views,
        link: Link,
        refine: GuidedFilter | None,
    ) -> None:
        self._model, self._encoding, self._decoding = model, encoding, decoding
        self._views, self._link, self._refine = views, link, refine
        self._size, self._device = model.grid[0], model.headroom.device
        self._mergings: dict[int, Merging] = {}

    def encode(self, images: ViewedImages) -> ViewedFeatures:
        """All that any query needs of the images.

        Those with tiles are encoded apart, as where they are not encoded before: an image's numbers depend by an ulp on
        which others are in its batch.
        """
        plain_b, tiled_b = (np.flatnonzero(chosen) for chosen in (images.tiles_b == 1, images.tiles_b > 1))
        parts = [*self._encoded(images, plain_b), *self._encoded(images, tiled_b)]
        windows = [each for _, own in parts for each in own]
        place_b = np.argsort(np.concatenate([plain_b, tiled_b]))
        whole = self._model.joined([whole for whole, _ in parts])[torch.from_numpy(place_b).to(self._device)]
        return ViewedFeatures(whole, tuple(windows[place] for place in place_b), images)

    def launched(
        self,
        images: ViewedImages | ViewedFeatures,
        number_b: np.ndarray,
        prompts: Prompts,
        *,
        rows: Rows,
        contests: Contests,
        guides: ViewedImages | None,
        want_logits: bool,
    ) -> Iterator[Launched]:
        """Rows of ``number_b``, places of images that have tiles; ``rows`` have their features in that order.

        guides: the images, where logits are to be refined.
        """
        for place, sight in enumerate(self._sights(images, number_b, guides)):
            most = max(1, _MAPS_BYTES // (4 * sight.merging.side**2))

            def alone(_: int, part: Rows, sight: _Sight = sight) -> Launched:
                (limit_p,) = self._link.upload(torch.from_numpy(part.limit_p)).take()
                lasting = want_logits and self._refine is None  # refined ones are new
                merged_pwh = self._merged(sight, prompts, part.prompt_index_p, lasting=lasting)
                maps_pwh = sight.refined(merged_pwh, limit_p)
                return self._decoding.launch_maps(sight.whole, prompts, part, maps_pwh, want_logits)

            def decided(_: int, bouts: list[Bout], sight: _Sight = sight, most: int = most) -> Launched:
                return self._decided(sight, prompts, bouts[0], most, want_logits)

            yield from self._decoding.chunks(rows.of_features(place, 1), alone, most)
            yield from self._decoding.chunks(list(contests.bouts(place, 1)), decided, 1)

    def _decided(self, sight: _Sight, prompts: Prompts, bout: Bout, most: int, want_logits: bool) -> Launched:
        """A contest needs the maps of all its prompts at once, made alike: all in tiles, if any is to be.

        They are refined before it is decided who wins a pixel, so that it has one winner still.
        """
        prompt_m = bout.rows.prompt_index_p
        in_tiles = None
        if self._views.only is not None:
            highest_m = torch.cat([found.amax((1, 2)) for found in self._whole(sight, prompts, prompt_m)])
            in_tiles = np.full(len(prompt_m), self._worth_tiles(sight, prompts, prompt_m, highest_m).any())
        parts = []
        for start in range(0, len(prompt_m), most):
            piece = slice(start, start + most)
            own = None if in_tiles is None else in_tiles[piece]
            merged = self._merged(sight, prompts, prompt_m[piece], own, lasting=True)
            parts.append(sight.refined(merged, None))
        decided = Decided(want_logits)
        decided.add(bout, torch.cat(parts))
        return self._decoding.launch_decided(sight.whole, prompts, decided)

    def _merged(
        self,
        sight: _Sight,
        prompts: Prompts,
        prompt_k: np.ndarray,
        in_tiles_k: np.ndarray | None = None,
        *,
        lasting: bool,
    ) -> torch.Tensor:
        """Float32 [k, T, T], transposed, on the device: logits of one image with some prompts.

        in_tiles_k: bool, which of them are decoded in tiles; by the views' own rule where it is None. lasting: whether
        they are good for longer than until the next.
        """
        side = sight.merging.side
        shape = (len(prompt_k), side, side)
        maps_kwh = torch.empty(shape, device=self._device) if lasting else sight.room.of("merged", len(prompt_k), side)
        if not self._views.whole:
            return self._tiled(sight, prompts, prompt_k, maps_kwh)
        highest, start = [], 0
        for logits_pwh in self._whole(sight, prompts, prompt_k):
            for place in range(len(logits_pwh)):
                maps_kwh[start + place] = enlarged(logits_pwh[place : place + 1], side)[0]
            highest.append(logits_pwh.amax((1, 2)))
            start += len(logits_pwh)
        if in_tiles_k is None:
            in_tiles_k = self._worth_tiles(sight, prompts, prompt_k, torch.cat(highest))
        if in_tiles_k.any():
            found = np.flatnonzero(in_tiles_k)
            tiled_fwh = self._tiled(sight, prompts, prompt_k[found], sight.room.of("tiled", len(found), side))
            for place, tiled_wh in zip(found.tolist(), tiled_fwh, strict=True):
                maps_kwh[place].add_(tiled_wh).mul_(0.5)
        return maps_kwh

    def _worth_tiles(
        self, sight: _Sight, prompts: Prompts, prompt_k: np.ndarray, highest_k: torch.Tensor
    ) -> np.ndarray:
        """Bool [k]. highest_k: the greatest logit of each in the whole image."""
        if self._views.only is None:
            return np.ones(len(prompt_k), np.bool_)
        assert self._views.floor is not None
        value_k, floor = highest_k, logit_of(self._views.floor) if self._views.only == "found" else self._views.floor
        if self._views.only == "present":
            index_k = torch.from_numpy(prompt_k).to(self._device)
            value_k = self._model.presence(sight.whole, DeviceRows(prompts, torch.zeros_like(index_k), index_k))
        return (value_k > float(floor)).cpu().numpy()

    def _whole(self, sight: _Sight, prompts: Prompts, prompt_k: np.ndarray) -> Iterator[torch.Tensor]:
        """Logits of the whole image, some prompts at a time, valid until the next."""
        return self._decoding.logits(sight.whole, prompts, Rows.as_given((np.zeros_like(prompt_k), prompt_k)))

    def _tiled(self, sight: _Sight, prompts: Prompts, prompt_k: np.ndarray, maps_kwh: torch.Tensor) -> torch.Tensor:
        """The windows' logits, merged, in float32 [k, T, T] that is given for it."""
        merging = sight.merging
        maps_kwh.zero_()
        window_p, place_p = product(len(merging), len(prompt_k))
        rows, first = Rows.as_given((window_p, prompt_k[place_p])), 0
        for logits_pwh in self._decoding.logits(sight.windows(), prompts, rows):
            done = 0
            while done < len(logits_pwh):
                window, query = divmod(first + done, len(prompt_k))
                count = min(len(prompt_k) - query, len(logits_pwh) - done)
                merging.add(maps_kwh[query : query + count], window, logits_pwh[done : done + count])
                done += count
            first += done
        return maps_kwh

    def _sights(
        self, images: ViewedImages | ViewedFeatures, number_b: np.ndarray, guides: ViewedImages | None
    ) -> Iterator[_Sight]:
        if isinstance(images, ViewedFeatures):
            parts = iter(
                [(images.whole[number : number + 1], [images.windows[number]]) for number in number_b.tolist()]
            )
        else:
            parts = self._encoded(images, number_b)
        first, room = 0, _Room(self._device)
        for whole, windows_of in parts:
            for place, windows in enumerate(windows_of):
                assert windows is not None, "an image without tiles"
                number = int(number_b[first + place])
                yield _Sight(
                    merging=self._merging(int(images.tiles_b[number])),
                    whole=whole[place : place + 1],
                    windows=windows,
                    refined=self._refined(guides, number),
                    room=room,
                )
            first += len(whole)

    def _refined(
        self, guides: ViewedImages | None, number: int
    ) -> Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]:
        if self._refine is None or guides is None:
            return _as_they_are
        (pixels_hwc,) = self._link.upload(torch.as_tensor(guides.finest(number))).take()
        return self._refine.of_image(pixels_hwc)

    def _encoded(self, images: ViewedImages, number_b: np.ndarray) -> Iterator[tuple[Features, list[Windows | None]]]:
        """Features of some images at a time: of the whole ones, and what gives the windows' of each that has tiles.

        Where it is not known whether they will be needed they are encoded when they are, else together.
        """
        first = 0
        for whole in self._encoding.features(images.whole_bhwc[number_b]):
            own = number_b[first : first + len(whole)].tolist()
            first += len(whole)
            windows: dict[int, Windows] = {}
            tiled = [number for number in own if images.tiles_b[number] > 1]
            if self._views.only is not None:
                windows = {number: cache(partial(self._windows, images, [number])) for number in tiled}
            elif tiled:
                joined, start = self._windows(images, tiled), 0
                for number in tiled:
                    stop = start + len(self._merging(int(images.tiles_b[number])))
                    windows[number] = partial(_part, joined, start, stop)
                    start = stop
            yield whole, [windows.get(number) for number in own]

    def _windows(self, images: ViewedImages, numbers: list[int]) -> Features:
        """Of all windows of some images, one image behind the other."""
        cut = [
            self._merging(int(images.tiles_b[number])).cut(torch.as_tensor(images.finest(number))) for number in numbers
        ]
        return self._model.joined(list(self._encoding.features(torch.cat(cut))))

    def _merging(self, tiles: int) -> Merging:
        if tiles not in self._mergings:
            self._mergings[tiles] = Merging(self._views, tiles, self._size, self._device)
        return self._mergings[tiles]


def _as_they_are(logits_pwh: torch.Tensor, limit_p: torch.Tensor | None) -> torch.Tensor:
    return logits_pwh


def _part(features: Features, start: int, stop: int) -> Features:
    return features[start:stop]
