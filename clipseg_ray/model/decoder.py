"""The half of CLIPSeg that runs once per (image, query): FiLM, the post-norm blocks, the head."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.model.layers import DecoderBlock, Linear
from clipseg_ray.model.weights import Weights

_FILM = ("film_mul", "film_add")


@dataclass
class Film:
    """All a mask takes from its query: FiLM's pair, 2·d numbers a query, float32 on the model's device.

    mul_qd, add_qd: state ← mul·state + add. direction_qc: the conditional at length 1, for presence.
    """

    mul_qd: torch.Tensor
    add_qd: torch.Tensor
    direction_qc: torch.Tensor

    def __len__(self) -> int:
        return len(self.mul_qd)


def query_layers(model: Any) -> tuple[nn.Linear, nn.Linear]:
    """Where a query enters transformers' CLIPSeg: conditional → factor of the decoder's state, and what is added."""
    factor, summand = (getattr(model.decoder, name) for name in _FILM)
    return factor, summand


class FilmLayers(nn.Module):
    """Conditionals [q, c] → Film. Stays in float32 whatever the decoder's precision: it is run once a query."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        decoder = checkpoint.weights.under("decoder")
        self.mul, self.add = (Linear.of(decoder.under(name)) for name in _FILM)

    def forward(self, conditionals_qc: torch.Tensor) -> Film:
        direction_qc = F.normalize(conditionals_qc, dim=-1)
        return Film(self.mul(conditionals_qc), self.add(conditionals_qc), direction_qc)


class Decoder(nn.Module):
    """Taps [k, b, t, d], image_index [p], mul and add [p, d] → logits [p, w, h], all in the taps' precision but FiLM's.

    Logits come transposed, so that flattening a row of them walks down the columns as COCO's run lengths do.
    """

    def __init__(self, checkpoint: Checkpoint, grid: int) -> None:
        super().__init__()
        config, decoder = checkpoint.config, checkpoint.weights.under("decoder")
        self.grid = grid
        layers, blocks = decoder.under("layers"), config.decoder_config
        self.blocks = nn.ModuleList(
            DecoderBlock(layers.under(index), blocks)
            for index in range(config.conditional_layer, blocks.num_hidden_layers)
        )
        head = decoder.under("transposed_convolution")
        self.head = RefinedHead(head) if config.use_complex_transposed_convolution else PlainHead(head)

    def forward(
        self, taps_kbtd: torch.Tensor, image_index_p: torch.Tensor, mul_pd: torch.Tensor, add_pd: torch.Tensor
    ) -> torch.Tensor:
        dtype = taps_kbtd.dtype
        taps_kptd = taps_kbtd.index_select(1, image_index_p)
        x_ptd = torch.addcmul(add_pd[:, None], taps_kptd[0].float(), mul_pd[:, None]).to(dtype)
        for number, block in enumerate(self.blocks):
            if number:
                x_ptd = x_ptd + taps_kptd[number]
            x_ptd = block(x_ptd)
        return self.head(x_ptd[:, 1:].unflatten(1, (self.grid, self.grid)))


class PlainHead(nn.Module):
    """ConvTranspose2d(d → 1, kernel = stride) as one product: [p, g, g, d] → [p, w, h]."""

    def __init__(self, head: Weights) -> None:
        super().__init__()
        weight = head["weight"][:, 0]  # [d, kh, kw]
        self.kernel = weight.shape[1:]
        self.pixels_per_token = self.kernel[0]
        self.spread = Linear(weight.flatten(1).T, head["bias"].repeat(weight[0].numel()))

    def forward(self, x_pghd: torch.Tensor) -> torch.Tensor:
        p, rows, columns, _ = x_pghd.shape
        kh, kw = self.kernel
        out = self.spread(x_pghd).view(p, rows, columns, kh, kw)
        return out.permute(0, 2, 4, 1, 3).reshape(p, columns * kw, rows * kh)


class RefinedHead(nn.Module):
    """Conv3×3, ReLU, ConvT, ReLU, ConvT (kernel = stride) as one convolution and two products."""

    def __init__(self, head: Weights) -> None:
        super().__init__()
        smooth, first, second = (head.under(index) for index in (0, 2, 4))
        width = len(smooth["bias"])
        self.convolution = nn.Conv2d(width, width, kernel_size=3, padding=1).requires_grad_(False)
        self.convolution.load_state_dict({name: smooth[name] for name in ("weight", "bias")})
        kernel = self.convolution.weight.contiguous(memory_format=torch.channels_last)
        self.convolution.weight = nn.Parameter(kernel, requires_grad=False)
        sides = first["weight"].shape[2:]
        weight = second["weight"][:, 0]
        self.kernels = (*sides, *weight.shape[1:])
        self.pixels_per_token = self.kernels[0] * self.kernels[2]
        # [d, e, kh, kw] → rows ordered (kh, kw, e): the second product then reads e as its last axis.
        kernel = first["weight"].permute(2, 3, 1, 0).flatten(0, 2)
        self.first = Linear(kernel, first["bias"].repeat(sides.numel()))
        self.second = Linear(weight.flatten(1).T, second["bias"].repeat(weight[0].numel()))

    def forward(self, x_pghd: torch.Tensor) -> torch.Tensor:
        p, rows, columns, _ = x_pghd.shape
        kh, kw, jh, jw = self.kernels
        x_pdgh = F.relu(self.convolution(x_pghd.permute(0, 3, 1, 2)), inplace=True)
        # A ReLU that keeps NaN, which oneDNN's own does not: here is no residual that would carry it past.
        hidden = F.relu(self.first(x_pdgh.permute(0, 2, 3, 1)), inplace=True)
        out = self.second(hidden.view(p, rows, columns, kh, kw, -1)).view(p, rows, columns, kh, kw, jh, jw)
        return out.permute(0, 2, 4, 6, 1, 3, 5).reshape(p, columns * kw * jw, rows * kh * jh)
