"""CLIPSeg, with every query for the price of one image.

    engine = Engine(checkpoint.model, preprocessing=checkpoint.preprocessing, batch=2, decode_chunk=4)
    film = engine.film(embed_texts(checkpoint, ["a cat", "grass"]))
    for block in engine.segment(pixels_bhwc, film, np.zeros(2)):
        ...  # packed masks and their scores, one row per (image, query)

The image goes through the encoder once, whatever the number of queries; (image, query) rows go through the decoder
in chunks, so memory depends on `batch` and `decode_chunk`, not on how many images and queries there are.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from clipseg_ray.errors import UserError
from clipseg_ray.masks.heat import quantised
from clipseg_ray.masks.threshold import pack
from clipseg_ray.model import feedforward_kernel, packed
from clipseg_ray.model.decoder import Decoder, Film, FilmLayers
from clipseg_ray.model.encoder import Encoder, Features
from clipseg_ray.model.precision import DTYPES
from clipseg_ray.model.program import Program
from clipseg_ray.model.transfer import Link, Pending, Upload
from clipseg_ray.pixels.preprocessing import Preprocessing

log = logging.getLogger(__name__)

Array = np.ndarray | torch.Tensor
Pairs = tuple[np.ndarray, np.ndarray]


@dataclass
class Block:
    """Some rows of masks, on the host.

    image_index_p, query_index_p: int64, into the images and the film given. bits_pn, max_logit_p (NaN where a logit
    is not finite), probability_sum_p: see `masks.threshold.Packed`. presence_p: float32 cosine of the image's and
    the query's CLIP projections, of an engine made with `presence`. heat_phw: see `masks.heat.quantised`, of an
    engine made with `heat`. logits_kwh: float32 [k, w, h] for the rows
    logits_row_k of this block, those whose maximum is above the threshold, where logits were wanted.
    """

    image_index_p: np.ndarray
    query_index_p: np.ndarray
    bits_pn: np.ndarray
    max_logit_p: np.ndarray
    probability_sum_p: np.ndarray
    presence_p: np.ndarray | None = None
    heat_phw: np.ndarray | None = None
    logits_row_k: np.ndarray | None = None
    logits_kwh: np.ndarray | None = None


@dataclass
class _Launched:
    """A chunk of rows whose results are on their way."""

    block_of: tuple[np.ndarray, np.ndarray]
    pending: Pending
    logits_pwh: torch.Tensor | None
    limit_p: np.ndarray


class DecodeAndPack(nn.Module):
    """Decoder and `pack` in one: logits [p, w, h], bits [p, n], maxima [p], probability sums [p]."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        *decoder_inputs, threshold_logit_p = inputs
        logits_pwh = self.decoder(*decoder_inputs)
        return (logits_pwh, *pack(logits_pwh, threshold_logit_p))


class Engine:
    """Encoder and decoder of one checkpoint on one device.

    model: transformers' CLIPSegForImageSegmentation; its weights are copied, it can be dropped afterwards.
    precision: "fp32" (exact), "bf16", "fp16"; see `resolve_precision`. compile: worth its 3–30 s (a GPU's minute)
    for long runs only. batch: images encoded together. decode_chunk: (image, query) rows decoded together.
    presence: also run CLIP's remaining blocks, for `Block.presence_p`. heat: side of `Block.heat_phw`, if wanted.

    Uses as many CPU threads as PyTorch is set to. fp32 on a GPU switches TF32 off for the process.
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
        if self.device.type == "cuda" and self.device.index is None:
            self.device = torch.device("cuda", torch.cuda.current_device())
        self.batch, self.decode_chunk, self._heat = batch, decode_chunk, heat
        dtype = DTYPES[precision]
        if self.device.type == "cuda":
            _prepare_cuda(self.device, exact=precision == "fp32")
        encoder = Encoder(model, preprocessing, dtype, presence).eval().to(self.device)
        decoder = Decoder(model, encoder.grid).to(dtype).eval().to(self.device)
        if self.device.type == "cpu" and not compile and packed.pays():
            packed.pack(encoder)
            packed.pack(decoder)
        self._film_layers = FilmLayers(model).eval().to(self.device)
        self._side, self._width = encoder.side, self._film_layers.mul.out_features
        self._link = Link(self.device)
        side = encoder.grid * decoder.head.pixels_per_token
        self.grid = (side, side)
        self._encode = Program(encoder, self.device, compile)
        self._decode = Program(decoder, self.device, compile)
        self._decode_and_pack: Program | None = None
        if self.device.type == "cuda":
            tokens = encoder.grid**2 + 1
            feedforward_kernel.choose(decoder.blocks, rows=decode_chunk, tokens=tokens, compile=compile)
            self._decode_and_pack = Program(DecodeAndPack(decoder), self.device, compile)

    def film(self, conditionals_qc: Array) -> Film:
        """FiLM's pair of each query from its conditional [q, c], computed in float32 and kept on the device."""
        with torch.no_grad():
            return self._film_layers(torch.as_tensor(conditionals_qc, dtype=torch.float32).to(self.device))

    def encode(self, pixels_bhwc: Array) -> Features:
        """Everything the decoder needs of the images, uint8 [b, S, S, 3] of any b; `batch` at a time."""
        parts = list(self._features(pixels_bhwc))
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
        images, queries = _product(len(features), len(film))
        chunks = [logits.clone() for logits in self.decode_pairs(features, images, film, queries)]
        return torch.cat(chunks).unflatten(0, (len(features), len(film)))

    def decode_pairs(
        self, features: Features, image_index_p: np.ndarray, film: Film, query_index_p: np.ndarray
    ) -> Iterator[torch.Tensor]:
        """Logits of the pairs, in their order: float32 [≤ decode_chunk, w, h] at a time, valid until the next."""
        start = 0
        while start < len(image_index_p):
            stop = start + self.decode_chunk
            chosen = (image_index_p[start:stop], query_index_p[start:stop])
            try:
                with torch.no_grad():
                    (logits_pwh,) = self._run_decoder(self._decode, features, film, *chosen)
                    logits_pwh = logits_pwh[: len(chosen[0])].float()
            except torch.OutOfMemoryError as error:
                self._shrink_decoder(error)
                continue
            yield logits_pwh
            start = stop

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
        if pairs is None:
            pairs = _product(len(images), len(film))
        image_index_p, query_index_p = (np.asarray(index, dtype=np.int64) for index in pairs)
        order = np.argsort(image_index_p, kind="stable")
        image_index_p, query_index_p = image_index_p[order], query_index_p[order]
        wanted, local_p = np.unique(image_index_p, return_inverse=True)
        thresholds_q = np.asarray(threshold_logits_q, dtype=np.float32)
        launched: _Launched | None = None
        first = 0
        for features in self._features(_select(images, wanted)):
            low, high = np.searchsorted(local_p, (first, first + len(features)))
            start = int(low)
            while start < high:
                stop = min(start + self.decode_chunk, int(high))
                rows = slice(start, stop)
                queries_p = query_index_p[rows]
                try:
                    following = self._launch(
                        features, film, local_p[rows] - first, queries_p, thresholds_q[queries_p], want_logits
                    )
                except torch.OutOfMemoryError as error:
                    self._shrink_decoder(error)
                    continue
                following.block_of = (image_index_p[rows], queries_p)
                if launched is not None:
                    yield self._finish(launched)
                launched = following
                start = stop
            first += len(features)
        if launched is not None:
            yield self._finish(launched)

    # ---- encoding

    def _features(self, images: Array | Features) -> Iterator[Features]:
        """Features of at most `batch` images at a time; the next batch is on its way while one is worked on."""
        if isinstance(images, Features):
            for start in range(0, len(images), self.batch):
                part = slice(start, start + self.batch)
                embedding_bc = images.embedding_bc
                yield Features(images.taps_kbtd[:, part], None if embedding_bc is None else embedding_bc[part])
            return
        pixels_bhwc = torch.as_tensor(images)
        if pixels_bhwc.dtype != torch.uint8 or pixels_bhwc.shape[1:] != (self._side, self._side, 3):
            raise ValueError(
                f"pixels must be uint8 [b, {self._side}, {self._side}, 3], not {pixels_bhwc.dtype} "
                f"{list(pixels_bhwc.shape)}"
            )
        start, upload = 0, None
        while start < len(pixels_bhwc):
            count = min(self.batch, len(pixels_bhwc) - start)
            if upload is None:
                upload = self._upload_batch(pixels_bhwc, start)
            try:
                features = self._encode_batch(upload, count)
            except torch.OutOfMemoryError as error:
                upload = None
                self._shrink_encoder(error)
                continue
            start += count
            upload = self._upload_batch(pixels_bhwc, start) if start < len(pixels_bhwc) else None
            yield features

    def _upload_batch(self, pixels_bhwc: torch.Tensor, start: int) -> Upload:
        return self._link.upload(pixels_bhwc[start : start + self.batch])

    def _encode_batch(self, upload: Upload, count: int) -> Features:
        with torch.no_grad():
            (pixels_bhwc,) = upload.take()
            pixels_bhwc = pixels_bhwc[:count].contiguous()  # strides are part of a compiled shape
            if self._encode.static:
                pixels_bhwc = _padded(pixels_bhwc, self.batch)
            outputs = self._encode(pixels_bhwc)
            if self.device.type == "cuda":
                outputs = tuple(output.clone() for output in outputs)
            taps_kbtd = outputs[0][:, :count]
            return Features(taps_kbtd, outputs[1][:count] if len(outputs) > 1 else None)

    # ---- decoding

    def _launch(
        self,
        features: Features,
        film: Film,
        images_p: np.ndarray,
        queries_p: np.ndarray,
        limit_p: np.ndarray,
        want_logits: bool,
    ) -> _Launched:
        with torch.no_grad():
            rows = len(images_p)
            if self._decode_and_pack is None:  # on a CPU packing is machine code of its own, see `pack`
                (logits_pwh,) = self._run_decoder(self._decode, features, film, images_p, queries_p)
                results = list(pack(logits_pwh[:rows], torch.as_tensor(limit_p)))
            else:
                program = self._decode_and_pack
                logits_pwh, *results = self._run_decoder(program, features, film, images_p, queries_p, limit_p)
                results = [result[:rows] for result in results]
            if self._heat is not None:
                results.append(quantised(logits_pwh[:rows], self._heat))
            if features.embedding_bc is not None:
                images, queries = self._link.upload(torch.as_tensor(images_p), torch.as_tensor(queries_p)).take()
                towards_pc = torch.nn.functional.normalize(features.embedding_bc[images], dim=-1)
                results.append((towards_pc * film.direction_qc[queries]).sum(-1))
            kept = None
            if want_logits:
                kept = logits_pwh[:rows].clone() if self.device.type == "cuda" else logits_pwh[:rows]
            pending = self._link.download(*results)
        return _Launched((images_p, queries_p), pending, kept, limit_p)

    def _finish(self, launched: _Launched) -> Block:
        bits_pn, max_logit_p, probability_sum_p, *optional = launched.pending.wait()
        block = Block(*launched.block_of, bits_pn, max_logit_p, probability_sum_p)
        if self._heat is not None:
            block.heat_phw = optional.pop(0)
        if optional:
            (block.presence_p,) = optional
        if launched.logits_pwh is not None:
            block.logits_row_k = np.flatnonzero(max_logit_p > launched.limit_p)
            rows = torch.as_tensor(block.logits_row_k).to(self.device)
            with torch.no_grad():
                block.logits_kwh = launched.logits_pwh[rows].float().cpu().numpy()
        return block

    def _run_decoder(
        self,
        program: Program,
        features: Features,
        film: Film,
        images_p: np.ndarray,
        queries_p: np.ndarray,
        *limit_p: np.ndarray,
    ) -> tuple[torch.Tensor, ...]:
        """Run one chunk through `program`. Where shapes are static the outputs have rows of padding at the end."""
        host = [torch.as_tensor(array) for array in (images_p, queries_p, *limit_p)]
        images, queries, *limits = self._link.upload(*host).take()
        mul_pd, add_pd = film.mul_qd[queries], film.add_qd[queries]
        taps_kbtd = features.taps_kbtd
        if not program.static:
            return program(taps_kbtd, images, mul_pd, add_pd, *limits)
        if len(features) != self.batch:
            taps_kbtd = _padded(taps_kbtd.transpose(0, 1), max(self.batch, len(features))).transpose(0, 1)
        size = self._static_rows(len(images_p))
        inputs = [_padded(tensor, size) for tensor in (images, mul_pd, add_pd, *limits)]
        return program(taps_kbtd.contiguous(), *inputs)

    def _static_rows(self, rows: int) -> int:
        """The smallest size rows are padded to: the full chunk, and on a GPU also its halves down to an eighth."""
        size = self.decode_chunk
        if self.device.type == "cuda":
            for _ in range(3):
                if size % 2 == 0 and size // 2 >= rows:
                    size //= 2
        return size

    # ---- when memory is short

    def _shrink_decoder(self, error: torch.OutOfMemoryError) -> None:
        if self.decode_chunk == 1:
            self._shrink_encoder(error)
            return
        self.decode_chunk = max(1, self.decode_chunk // 2)
        log.warning("device memory is short: decoding %d rows at a time from now on", self.decode_chunk)
        self._release()

    def _shrink_encoder(self, error: torch.OutOfMemoryError) -> None:
        if self.batch == 1:
            raise UserError(
                f"model.device: {self.device} has too little free memory for one image; free it or use fp16/bf16"
            ) from error
        self.batch = max(1, self.batch // 2)
        log.warning("device memory is short: encoding %d images at a time from now on", self.batch)
        self._release()

    def _release(self) -> None:
        for program in (self._encode, self._decode, self._decode_and_pack):
            if program is not None:
                program.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _product(images: int, queries: int) -> Pairs:
    return np.repeat(np.arange(images), queries), np.tile(np.arange(queries), images)


def _select(images: Array | Features, wanted: np.ndarray) -> Array | Features:
    if len(wanted) == len(images):
        return images
    index = torch.as_tensor(wanted)
    if isinstance(images, Features):
        index = index.to(images.taps_kbtd.device)
        embedding_bc = images.embedding_bc
        return Features(images.taps_kbtd[:, index], None if embedding_bc is None else embedding_bc[index])
    return torch.as_tensor(images)[index]


def _padded(tensor: torch.Tensor, size: int) -> torch.Tensor:
    """`tensor` with zeros appended along its first axis."""
    if len(tensor) >= size:
        return tensor
    return torch.cat([tensor, tensor.new_zeros(size - len(tensor), *tensor.shape[1:])])


def _prepare_cuda(device: torch.device, exact: bool) -> None:
    torch.cuda.set_device(device)
    if exact:
        backends: Any = torch.backends
        backends.cuda.matmul.fp32_precision = "ieee"
        backends.cudnn.conv.fp32_precision = "ieee"
