"""A model put to work: every query for the price of one image, in pieces that fit the device.

    engine = Engine(make_model(checkpoint, batch=2, decode_chunk=4))
    prompts = engine.embed(embed_texts(checkpoint, ["a cat", "grass"]))
    for block in engine.segment(pixels_bhwc, prompts, np.zeros(2)):
        ...  # packed masks and their scores, one row per (image, query)

An image is encoded once, whatever the number of queries; (image, query) rows are decoded in chunks, so memory depends
on ``batch`` and ``decode_chunk``, not on how many images and queries there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from clipseg_ray.masks.competition import NOBODY, Competition
from clipseg_ray.masks.guided import Guide, GuidedFilter
from clipseg_ray.model.block import Block
from clipseg_ray.model.bouts import Contests
from clipseg_ray.model.decoding import Decoding, Launched
from clipseg_ray.model.encoding import Encoding
from clipseg_ray.model.heap import trim
from clipseg_ray.model.protocol import Array, Features, Prompts, SegmentationModel
from clipseg_ray.model.rows import Pairs, Rows, product
from clipseg_ray.model.transfer import Link
from clipseg_ray.model.viewing import ViewedFeatures, Viewing
from clipseg_ray.pixels.viewed_images import ViewedImages
from clipseg_ray.pixels.views import Views

_BLOCKS_TO_A_TRIM = 32
_TILED_TO_A_TRIM = 4
"""Of images in tiles, which take many times as much work and memory."""
_NO_PIXELS = "logits are refined by the images' pixels; give them as guides"


class Engine:
    """One model at work on its device; it uses as many CPU threads as PyTorch is set to.

    model: see ``factory.make_model``. optional: settings of the optional columns that blocks come with, by name
    (``{"heat": 88}``). refine: makes the logits follow the picture's borders before anything else becomes of them.
    views: how images that come with tiles are seen. Where a GPU's memory is short the batch or the chunk is halved,
    once a size with one line in the log, and the work goes on.
    """

    def __init__(
        self,
        model: SegmentationModel,
        optional: Mapping[str, Any] | None = None,
        refine: GuidedFilter | None = None,
        views: Views | None = None,
    ) -> None:
        self._model, self._headroom = model, model.headroom
        self.device, self.grid = model.headroom.device, model.grid
        self._link, self._refine = Link(self.device), refine
        self._encoding = Encoding(model, self._link)
        self._decoding = Decoding(model, self._link, optional or {}, refine)
        self._viewing = None
        if views is not None:
            self._viewing = Viewing(model, self._encoding, self._decoding, views=views, link=self._link, refine=refine)

    @property
    def batch(self) -> int:
        """Images encoded together, now."""
        return self._headroom.batch

    @property
    def decode_chunk(self) -> int:
        """(image, query) rows decoded together, now."""
        return self._headroom.decode_chunk

    def embed(self, conditionals_qc: Array) -> Prompts:
        """Queries from their conditionals, float32 [q, c], as the model wants them; for ``segment`` and ``decode``."""
        return self._model.embed(conditionals_qc)

    def encode(self, pixels_bhwc: Array | ViewedImages) -> Any:
        """All that any query needs of the images, uint8 [b, S, S, 3] of any b; ``batch`` at a time.

        Features, or ViewedFeatures of ViewedImages, where tiles or borders of these matter.
        """
        if isinstance(pixels_bhwc, ViewedImages):
            if self._viewing is not None:
                return self._viewing.encode(pixels_bhwc)
            whole = self._encoded(pixels_bhwc.whole_bhwc)
            return whole if self._refine is None else ViewedFeatures(whole, (None,) * len(whole), pixels_bhwc)
        return self._encoded(pixels_bhwc)

    def _encoded(self, pixels_bhwc: Array) -> Features:
        parts = list(self._encoding.features(pixels_bhwc))
        if not parts:
            raise ValueError("no images to encode")
        return self._model.joined(parts)

    def decode(self, features: Features, prompts: Prompts) -> torch.Tensor:
        """Logits of every image with every query: float32 [b, q, w, h], transposed, on the device.

        The whole product in memory: for small inputs; `segment` is for large ones.
        """
        images, queries = product(len(features), len(prompts))
        chunks = [logits.clone() for logits in self.decode_pairs(features, images, prompts, queries)]
        return torch.cat(chunks).unflatten(0, (len(features), len(prompts)))

    def decode_pairs(
        self, features: Features, image_index_p: np.ndarray, prompts: Prompts, query_index_p: np.ndarray
    ) -> Iterator[torch.Tensor]:
        """Logits of the pairs, in their order: float32 [≤ decode_chunk, w, h] at a time, valid until the next."""
        return self._decoding.logits(features, prompts, Rows.as_given((image_index_p, query_index_p)))

    def segment(
        self,
        images: Array | Features | ViewedImages | ViewedFeatures,
        prompts: Prompts,
        threshold_logits_q: np.ndarray,
        pairs: Pairs | None = None,
        *,
        competition: Competition | None = None,
        guides: Array | ViewedImages | None = None,
        want_logits: bool = False,
    ) -> Iterator[Block]:
        """Masks of every image with every query, or of the `pairs` (image_index_p, query_index_p) alone.

        Without a `competition` each prompt is a query; `pairs` and a competition do not go together.

        images: uint8 pixels [b, S, S, 3] or ViewedImages, or what ``encode`` made of them, where several prompt sets
        meet them.
        threshold_logits_q: a pixel is inside a mask where its logit is above its query's.
        guides: the pixels that features were made of, where logits are to be refined and they do not hold them.

        Yields blocks of at most `decode_chunk` rows, image by image in the order given, each row once; of contests,
        after the others of a batch, blocks of those that a chunk completes. Images that no pair names are not encoded.
        Those of images with tiles come last, on a grid of their own. On a GPU a block is yielded while the next is
        being computed.
        """
        request = _Request(
            prompts=prompts,
            threshold_logits_q=threshold_logits_q,
            pairs=pairs,
            competition=competition,
            want_logits=want_logits,
        )
        pixels: Any = images.images if isinstance(images, ViewedFeatures) else images if guides is None else guides
        if not isinstance(images, ViewedImages | ViewedFeatures):
            yield from self._finished(self._seen_whole(images, request, pixels, np.arange(len(images))))
            return
        tiled_b = (images.tiles_b > 1) & (self._viewing is not None)
        if len(number_b := np.flatnonzero(~tiled_b)):
            whole = _select(
                images.whole_bhwc if isinstance(images, ViewedImages) else images.whole, number_b, self.device
            )
            launched = self._seen_whole(whole, request.of(number_b), pixels, number_b)
            yield from _of(number_b, self._finished(launched))
        if len(number_b := np.flatnonzero(tiled_b)):
            launched = self._seen_in_tiles(images, request.of(number_b), pixels, number_b)
            yield from _of(number_b, self._finished(launched, _TILED_TO_A_TRIM))

    def _seen_whole(
        self, images: Array | Features, request: _Request, pixels: Any, number_b: np.ndarray
    ) -> Iterator[Launched]:
        """number_b: their places among ``pixels``."""
        rows, wanted = request.rows(len(images))
        guides_bhwc = self._guides(pixels, number_b[wanted])
        contests, first = request.contests(self.device), 0
        for features in self._encoding.features(_select(images, wanted, self.device)):
            guide = self._guide(guides_bhwc, first, len(features))
            bouts = contests.bouts(first, len(features))
            of_these = rows.of_features(first, len(features))
            first += len(features)
            yield from self._decoding.masks(features, request.prompts, of_these, request.want_logits, guide)
            yield from self._decoding.contests(features, request.prompts, bouts, request.want_logits, guide)

    def _seen_in_tiles(
        self, images: ViewedImages | ViewedFeatures, request: _Request, pixels: Any, number_b: np.ndarray
    ) -> Iterator[Launched]:
        assert self._viewing is not None, "tiles are seen by an engine with views"
        rows, wanted = request.rows(len(number_b))
        yield from self._viewing.launched(
            images,
            number_b[wanted],
            request.prompts,
            rows=rows,
            contests=request.contests(self.device),
            guides=None if self._refine is None else pixels,
            want_logits=request.want_logits,
        )

    def _finished(self, launches: Iterator[Launched], to_a_trim: int = _BLOCKS_TO_A_TRIM) -> Iterator[Block]:
        """Their blocks, each once the next is launched. to_a_trim: blocks."""
        launched: Launched | None = None
        yielded = 0
        for following in launches:
            if launched is not None:
                yield self._decoding.finish(launched)
                yielded += 1
                if self.device.type == "cpu" and yielded % to_a_trim == 0:
                    trim()
            launched = following
        if launched is not None:
            yield self._decoding.finish(launched)

    def _guides(self, pixels: Any, number_b: np.ndarray) -> Array | None:
        """Of the images of these places; None where nothing is refined. Raises ValueError for what has no pixels."""
        if self._refine is None:
            return None
        if isinstance(pixels, ViewedImages):
            pixels = pixels.whole_bhwc
        if not isinstance(pixels, Array):
            raise ValueError(_NO_PIXELS)
        return _select(pixels, number_b, self.device)

    def _guide(self, guides_bhwc: Array | None, first: int, count: int) -> Guide | None:
        if self._refine is None or guides_bhwc is None:
            return None
        (pixels_bhwc,) = self._link.upload(torch.as_tensor(guides_bhwc[first : first + count])).take()
        if tuple(pixels_bhwc.shape[1:3]) != self.grid:  # of a model whose grid is not its picture's
            pixels_bhwc = _resized(pixels_bhwc, self.grid)
        return self._refine.guide(pixels_bhwc)


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What is asked of some images; see ``Engine.segment``."""

    prompts: Prompts
    threshold_logits_q: np.ndarray
    pairs: Pairs | None
    competition: Competition | None
    want_logits: bool

    def of(self, number_b: np.ndarray) -> _Request:
        """The same of the images of these places, ascending, by their places among them."""
        if self.pairs is None:
            return self
        image_index_p, query_index_p = (np.asarray(index, np.int64) for index in self.pairs)
        theirs_p = np.isin(image_index_p, number_b)
        return replace(self, pairs=(np.searchsorted(number_b, image_index_p[theirs_p]), query_index_p[theirs_p]))

    def rows(self, images: int) -> tuple[Rows, np.ndarray]:
        """Of so many images, and those of them that are needed, whose features the rows have in that order."""
        if self.competition is None:
            pairs = product(images, len(self.prompts)) if self.pairs is None else self.pairs
            return Rows.by_image(pairs, self.threshold_logits_q)
        if self.pairs is not None:
            raise ValueError("queries that compete are put to every image; leave out pairs")
        return Rows.alone(images, self.competition.alone, self.threshold_logits_q), np.arange(images)

    def contests(self, device: torch.device) -> Contests:
        """Ready on a device."""
        return Contests(self.competition or NOBODY, self.threshold_logits_q, device)


def _of(number_b: np.ndarray, blocks: Iterator[Block]) -> Iterator[Block]:
    """Blocks of the images of these places, by their places."""
    for block in blocks:
        block.image_index_p = number_b[block.image_index_p]
        yield block


def _select(images: Array | Features, wanted: np.ndarray, device: torch.device) -> Array | Features:
    if len(wanted) == len(images):
        return images
    index = torch.as_tensor(wanted)
    return torch.as_tensor(images)[index] if isinstance(images, Array) else images[index.to(device)]


def _resized(pixels_bhwc: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    pixels_bchw = pixels_bhwc.permute(0, 3, 1, 2).float()
    resized = torch.nn.functional.interpolate(pixels_bchw, grid, mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
