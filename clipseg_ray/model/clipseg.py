"""CLIPSeg on one device: encoder, FiLM and decoder as programs for it.

The image goes through the encoder once, whatever the number of queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from clipseg_ray.model import feedforward_kernel, packed
from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.model.decoder import Decoder, Film, FilmLayers
from clipseg_ray.model.encoder import Encoder, Features
from clipseg_ray.model.headroom import Headroom
from clipseg_ray.model.precision import DTYPES
from clipseg_ray.model.program import Program, padded
from clipseg_ray.model.protocol import Array, DeviceRows, SegmentationModel, Stage, StagedRows


class Clipseg(SegmentationModel):
    """A checkpoint's encoder and decoder. Its weights are copied, the checkpoint can be dropped afterwards.

    precision: "fp32" (exact), "bf16", "fp16"; see ``resolve_precision``. compile: worth its 3–30 s (a GPU's minute)
    for long runs only. presence: also run CLIP's remaining blocks, for the method of that name. fp32 on a GPU switches
    TF32 off for the process.
    """

    def __init__(
        self, checkpoint: Checkpoint, headroom: Headroom, *, precision: str, compile: bool, presence: bool
    ) -> None:
        device = headroom.device
        if device.type == "cuda" and precision == "fp32":
            # Not the newer `fp32_precision`: set for convolutions alone it makes PyTorch refuse to read the rest.
            torch.backends.cuda.matmul.allow_tf32 = False
            torch.backends.cudnn.allow_tf32 = False
        dtype = DTYPES[precision]
        encoder = Encoder(checkpoint, dtype, presence).eval().to(device)
        self._decoder = Decoder(checkpoint, encoder.grid).to(dtype).eval().to(device)
        if device.type == "cpu" and not compile and packed.pays():
            packed.pack(encoder)
            packed.pack(self._decoder)
        side = encoder.grid * self._decoder.head.pixels_per_token
        self.headroom, self.grid = headroom, (side, side)
        self._side, self._compile = encoder.side, compile
        self._film_layers = FilmLayers(checkpoint).eval().to(device)
        self._features = self._program(encoder)
        self._logits = self._program(self._decoder)
        if device.type == "cuda":
            feedforward_kernel.choose(self._decoder.blocks)

    def _program(self, module: nn.Module) -> Program:
        program = Program(module, self.headroom.device, self._compile)
        self.headroom.programs.append(program)
        return program

    def embed(self, conditionals_qc: Array) -> Film:
        """FiLM's pair of each query, computed in float32 and kept on the device."""
        with torch.no_grad():
            return self._film_layers(torch.as_tensor(conditionals_qc, dtype=torch.float32).to(self.headroom.device))

    def encode(self, pixels_bhwc: torch.Tensor) -> Features:
        """See ``SegmentationModel.encode``."""
        if pixels_bhwc.dtype != torch.uint8 or pixels_bhwc.shape[1:] != (self._side, self._side, 3):
            raise ValueError(
                f"pixels must be uint8 [b, {self._side}, {self._side}, 3], not {pixels_bhwc.dtype} "
                f"{list(pixels_bhwc.shape)}"
            )
        count = len(pixels_bhwc)
        pixels_bhwc = pixels_bhwc.contiguous()  # strides are part of a compiled shape
        if self._features.static:
            pixels_bhwc = padded(pixels_bhwc, self.headroom.batch)
        taps_kbtd, *embedding_bc = self._features(pixels_bhwc)
        if self.headroom.device.type == "cuda":  # the next run writes over them
            taps_kbtd, *embedding_bc = taps_kbtd.clone(), *(found.clone() for found in embedding_bc)
        return Features(taps_kbtd[:, :count], embedding_bc[0][:count] if embedding_bc else None)

    def joined(self, parts: Sequence[Features]) -> Features:
        """See ``SegmentationModel.joined``."""
        taps_kbtd = torch.cat([part.taps_kbtd for part in parts], dim=1)
        if parts[0].embedding_bc is None:
            return Features(taps_kbtd)
        return Features(taps_kbtd, torch.cat([part.embedding_bc for part in parts if part.embedding_bc is not None]))

    def logits(self, features: Features, rows: DeviceRows) -> torch.Tensor:
        """See ``SegmentationModel.logits``; in the model's precision."""
        return self._run(self._logits, features, rows)[0]

    def staged(self, stage: Stage) -> StagedRows:
        """On a GPU decoder and stage are one graph; a CPU's stages are machine code of their own (see ``pack``)."""
        if self.headroom.device.type != "cuda":
            return super().staged(stage)
        return partial(self._run, self._program(DecoderAndStage(self._decoder, stage)))

    def presence(self, features: Features, rows: DeviceRows) -> torch.Tensor:
        """The cosine of the image's and the query's CLIP projections."""
        assert features.embedding_bc is not None, "made without presence"
        towards_pc = nn.functional.normalize(features.embedding_bc[rows.image_index_p], dim=-1)
        return (towards_pc * rows.prompts.direction_qc[rows.query_index_p]).sum(-1)

    def _run(
        self, program: Program, features: Features, rows: DeviceRows, *given: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """``program``'s outputs for the rows. Where shapes are static it is given rows of padding besides."""
        film, taps_kbtd, count = rows.prompts, features.taps_kbtd, len(rows.image_index_p)
        inputs = [rows.image_index_p, film.mul_qd[rows.query_index_p], film.add_qd[rows.query_index_p], *given]
        if program.static:
            if len(features) < self.headroom.batch:
                taps_kbtd = padded(taps_kbtd.transpose(0, 1), self.headroom.batch).transpose(0, 1)
            taps_kbtd = taps_kbtd.contiguous()
            size = self._size(count)
            inputs = [padded(tensor, size) for tensor in inputs]
        return tuple(output[:count] for output in program(taps_kbtd, *inputs))

    def _size(self, rows: int) -> int:
        """The smallest size rows are padded to: the full chunk, and on a GPU also its halves down to an eighth."""
        size = self.headroom.decode_chunk
        if self.headroom.device.type == "cuda":
            for _ in range(3):
                if size % 2 == 0 and size // 2 >= rows:
                    size //= 2
        return size


class DecoderAndStage(nn.Module):
    """Logits [p, w, h] from the decoder's inputs, then what the stage makes of them and of the inputs that follow."""

    def __init__(self, decoder: Decoder, stage: Stage) -> None:
        super().__init__()
        self.decoder, self.stage = decoder, stage

    def forward(
        self,
        taps_kbtd: torch.Tensor,
        image_index_p: torch.Tensor,
        mul_pd: torch.Tensor,
        add_pd: torch.Tensor,
        *given: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        logits_pwh = self.decoder(taps_kbtd, image_index_p, mul_pd, add_pd)
        return (logits_pwh, *self.stage(logits_pwh, *given))
