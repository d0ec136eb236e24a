"""CLIPSeg, with every query for the price of one image.

    engine = Engine(checkpoint.model, preprocessing=checkpoint.preprocessing, batch=2, decode_chunk=4)
    film = engine.film(embed_texts(checkpoint, ["a cat", "grass"]))
    for block in engine.segment(pixels_bhwc, film, np.zeros(2)):
        ...  # packed masks and their scores, one row per (image, query)

The image goes through the encoder once, whatever the number of queries; (image, query) rows go through the decoder
in chunks, so memory depends on `batch` and `decode_chunk`, not on how many images and queries there are.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from clipseg_ray.model import packed
from clipseg_ray.model.block import Block
from clipseg_ray.model.decoder import Decoder, Film, FilmLayers
from clipseg_ray.model.decoding import Decoding, Launched
from clipseg_ray.model.encoder import Encoder, Features
from clipseg_ray.model.encoding import Array, Encoding
from clipseg_ray.model.headroom import Headroom
from clipseg_ray.model.heap import trim
from clipseg_ray.model.precision import DTYPES
from clipseg_ray.model.rows import Pairs, Rows, product
from clipseg_ray.model.transfer import Link
from clipseg_ray.pixels.preprocessing import Preprocessing

_BLOCKS_TO_A_TRIM = 32


class Engine:
    """Encoder and decoder of one checkpoint on one device.

    model: transformers' CLIPSegForImageSegmentation; its weights are copied, it can be dropped afterwards.
    precision: "fp32" (exact), "bf16", "fp16"; see `resolve_precision`. compile: worth its 3–30 s (a GPU's minute)
    for long runs only. batch: images encoded together. decode_chunk: (image, query) rows decoded together.
    presence: also run CLIP's remaining blocks, for `Block.presence_p`. heat: side of `Block.heat_phw`, if wanted.

    Uses as many CPU threads as PyTorch is set to. fp32 on a GPU switches TF32 off for the process. Where a GPU's memory
    is short the batch or the chunk is halved, once a size with one line in the log, and the work goes on.
    """

    def __init__(
        self,
        model: Any,
        *,
        preprocessing: Preprocessing,
        device: str = "cpu",
        precision: str = "fp32",
        compile: bool = False,
        batch: int,
        decode_chunk: int,
        presence: bool = False,
        heat: int | None = None,
    ) -> None:
        self.device = torch.device(device)
        if self.device.type == "cuda":
            if self.device.index is None:
                self.device = torch.device("cuda", torch.cuda.current_device())
            if precision == "fp32":
                # Not the newer `fp32_precision`: set for convolutions alone it makes PyTorch refuse to read the rest.
                torch.backends.cuda.matmul.allow_tf32 = False
                torch.backends.cudnn.allow_tf32 = False
        dtype = DTYPES[precision]
        encoder = Encoder(model, preprocessing, dtype, presence).eval().to(self.device)
        decoder = Decoder(model, encoder.grid).to(dtype).eval().to(self.device)
        if self.device.type == "cpu" and not compile and packed.pays():
            packed.pack(encoder)
            packed.pack(decoder)
        side = encoder.grid * decoder.head.pixels_per_token
        self.grid = (side, side)
        link = Link(self.device)
        self._film_layers = FilmLayers(model).eval().to(self.device)
        self._headroom = Headroom(self.device, batch=batch, decode_chunk=decode_chunk)
        self._encoding = Encoding(encoder, link, self._headroom, compile)
        self._decoding = Decoding(decoder, link, self._headroom, compile, heat)

    @property
    def batch(self) -> int:
        """Images encoded together, now."""
        return self._headroom.batch

    @property
    def decode_chunk(self) -> int:
        """(image, query) rows decoded together, now."""
        return self._headroom.decode_chunk

    def film(self, conditionals_qc: Array) -> Film:
        """FiLM's pair of each query from its conditional [q, c], computed in float32 and kept on the device."""
        with torch.no_grad():
            return self._film_layers(torch.as_tensor(conditionals_qc, dtype=torch.float32).to(self.device))

    def encode(self, pixels_bhwc: Array) -> Features:
        """Everything the decoder needs of the images, uint8 [b, S, S, 3] of any b; `batch` at a time."""
        parts = list(self._encoding.features(pixels_bhwc))
        if not parts:
            raise ValueError("no images to encode")
        taps_kbtd = torch.cat([part.taps_kbtd for part in parts], dim=1)
        if parts[0].embedding_bc is None:
            return Features(taps_kbtd)
        return Features(taps_kbtd, torch.cat([part.embedding_bc for part in parts if part.embedding_bc is not None]))

    def decode(self, features: Features, film: Film) -> torch.Tensor:
        """Logits of every image with every query: float32 [b, q, w, h], transposed, on the device.

        The whole product in memory: for small inputs; `segment` is for large ones.
        """
        images, queries = product(len(features), len(film))
        chunks = [logits.clone() for logits in self.decode_pairs(features, images, film, queries)]
        return torch.cat(chunks).unflatten(0, (len(features), len(film)))

    def decode_pairs(
        self, features: Features, image_index_p: np.ndarray, film: Film, query_index_p: np.ndarray
    ) -> Iterator[torch.Tensor]:
        """Logits of the pairs, in their order: float32 [≤ decode_chunk, w, h] at a time, valid until the next."""
        return self._decoding.logits(features, film, Rows.as_given((image_index_p, query_index_p)))

    def segment(
        self,
        images: Array | Features,
        film: Film,
        threshold_logits_q: np.ndarray,
        pairs: Pairs | None = None,
        *,
        want_logits: bool = False,
    ) -> Iterator[Block]:
        """Masks of every image with every query, or of the `pairs` (image_index_p, query_index_p) alone.

        images: uint8 pixels [b, S, S, 3], or their Features where several films meet the same images.
        threshold_logits_q: a pixel is inside a mask where its logit is above its query's.

        Yields blocks of at most `decode_chunk` rows, image by image in the order given, each row once. Images that
        no pair names are not encoded. On a GPU a block is yielded while the next is being computed.
        """
        rows, wanted = Rows.by_image(pairs or product(len(images), len(film)), threshold_logits_q)
        launched: Launched | None = None
        first = yielded = 0
        for features in self._encoding.features(_select(images, wanted)):
            of_these = rows.of_features(first, len(features))
            first += len(features)
            for following in self._decoding.masks(features, film, of_these, want_logits):
                if launched is not None:
                    yield self._decoding.finish(launched)
                    yielded += 1
                    if self.device.type == "cpu" and yielded % _BLOCKS_TO_A_TRIM == 0:
                        trim()
                launched = following
        if launched is not None:
            yield self._decoding.finish(launched)


def _select(images: Array | Features, wanted: np.ndarray) -> Array | Features:
    if len(wanted) == len(images):
        return images
    index = torch.as_tensor(wanted)
    if isinstance(images, Features):
        return images[index.to(images.taps_kbtd.device)]
    return torch.as_tensor(images)[index]
