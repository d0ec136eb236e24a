"""CLIPSeg as its authors define it, over OpenAI's CLIP, written anew from the description in small.

Names of modules are theirs, since these are the names in the files: ``AuthorsDecoder.file`` is what they save,
``OpenAiClip.archive`` what OpenAI does.
"""

from __future__ import annotations

import gzip
import io
import warnings
from collections import OrderedDict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, DEPTH, PATCH, GRID, JOINT = 128, 10, 16, 4, 24
TEXT_WIDTH, POSITIONS = 64, 77
MERGES = [("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>")]
WORDS = 512 + len(MERGES) + 2


@torch.no_grad()
def _liven(module: nn.Module) -> None:
    """Weights that make something of every input, and biases and norms that do something."""
    for part in module.modules():
        for parameter in part.parameters(recurse=False):
            inputs = len(parameter) if isinstance(part, nn.ConvTranspose2d) else parameter[:1].numel()
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
            else:
                nn.init.normal_(parameter, std=inputs**-0.5)


class QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """OpenAI's: pre-norm, attention of 64 channels a head. Tokens first: [t, b, d]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // 64)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        layers = {"c_fc": nn.Linear(width, 4 * width), "gelu": QuickGelu(), "c_proj": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(Block(width) for _ in range(depth)))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """The output of every block."""
        outputs = []
        for block in self.resblocks:
            x = block(x, mask)
            outputs.append(x)
        return outputs


class Visual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(WIDTH) / WIDTH**0.5)
        self.positional_embedding = nn.Parameter(torch.randn(GRID**2 + 1, WIDTH) / WIDTH**0.5)
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.transformer = Transformer(WIDTH, DEPTH)
        self.proj = nn.Parameter(torch.randn(WIDTH, JOINT) / WIDTH**0.5)

    def positions(self, side: int) -> Tensor:
        square = self.positional_embedding[1:].T.reshape(1, WIDTH, GRID, GRID)
        resized = F.interpolate(square, (side, side), mode="bicubic", align_corners=False)
        return torch.cat([self.positional_embedding[:1], resized.flatten(2)[0].T])

    def forward(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Un-normalised projections [b, c], and every block's output [t, b, d]."""
        maps = self.conv1(pixels)
        tokens = maps.flatten(2).permute(0, 2, 1)
        x = torch.cat([self.class_embedding.expand(len(tokens), 1, -1), tokens], dim=1)
        x = self.ln_pre(x + self.positions(maps.shape[-1])).permute(1, 0, 2)
        outputs = self.transformer(x)
        return self.ln_post(outputs[-1][0]) @ self.proj, outputs


class OpenAiClip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual = Visual()
        self.transformer = Transformer(TEXT_WIDTH, 2)
        self.token_embedding = nn.Embedding(WORDS, TEXT_WIDTH)
        self.positional_embedding = nn.Parameter(torch.randn(POSITIONS, TEXT_WIDTH) * 0.1)
        self.ln_final = nn.LayerNorm(TEXT_WIDTH)
        self.text_projection = nn.Parameter(torch.randn(TEXT_WIDTH, JOINT) / TEXT_WIDTH**0.5)
        self.logit_scale = nn.Parameter(torch.tensor(4.6))
        for name, value in (("input_resolution", GRID * PATCH), ("context_length", POSITIONS), ("vocab_size", WORDS)):
            self.register_buffer(name, torch.tensor(value))
        _liven(self.visual.transformer)
        _liven(self.transformer)

    def encode_text(self, ids: Tensor) -> Tensor:
        """Texts of one length, int64 [q, t], the last token their end; un-normalised [q, c]."""
        x = (self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]).permute(1, 0, 2)
        causal = torch.full((len(x), len(x)), float("-inf")).triu(1)
        return self.ln_final(self.transformer(x, causal)[-1][-1]) @ self.text_projection

    def forward(self, pixels: Tensor) -> Tensor:
        """Something to trace: an archive has every tensor, used or not."""
        return pixels * self.logit_scale

    def archive(self, folder: Path, half: bool = False) -> Path:
        """The TorchScript file, as OpenAI's is traced, with the vocabulary beside it."""
        path = folder / "ViT-B-16.pt"
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # so OpenAI's files were made
            traced = torch.jit.trace(self.eval(), torch.zeros(1))
        (traced.half() if half else traced).save(str(path))
        text = "\n".join(["#version: 0.2", *map(" ".join, MERGES), "more than", "are used"])
        (folder / "bpe_simple_vocab_16e6.txt.gz").write_bytes(gzip.compress(text.encode()))
        return path


class AuthorsDecoder(nn.Module):
    """``CLIPDensePredT`` without the CLIP: PyTorch's own post-norm blocks, the deepest tap first, FiLM there alone."""

    def __init__(self, taps: tuple[int, ...], refined: bool, width: int = 16) -> None:
        super().__init__()
        self.taps = taps
        self.film_mul, self.film_add = nn.Linear(JOINT, width), nn.Linear(JOINT, width)
        self.reduce = nn.Linear(WIDTH, width)  # as in their files; no one uses it
        self.reduces = nn.ModuleList(nn.Linear(WIDTH, width) for _ in taps)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(width, 4, dim_feedforward=96) for _ in taps)
        if refined:
            self.trans_conv = nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1),
                nn.ReLU(),
                nn.ConvTranspose2d(width, width // 2, PATCH // 4, stride=PATCH // 4),
                nn.ReLU(),
                nn.ConvTranspose2d(width // 2, 1, PATCH // 4, stride=PATCH // 4),
            )
        else:
            self.trans_conv = nn.ConvTranspose2d(width, 1, PATCH, stride=PATCH)
        _liven(self)

    def forward(self, outputs: list[Tensor], conditionals: Tensor) -> Tensor:
        """Every block's output [t, b, d] and a conditional an image [b, c] → logits [b, h, w]."""
        state: Tensor | None = None
        taken = [output for number, output in enumerate(outputs) if number in self.taps]
        for number, (tap, block, reduce) in enumerate(zip(reversed(taken), self.blocks, self.reduces, strict=True)):
            state = reduce(tap) if state is None else reduce(tap) + state
            if number == 0:
                state = self.film_mul(conditionals) * state + self.film_add(conditionals)
            state = block(state)
        assert state is not None
        maps = state[1:].permute(1, 2, 0)
        side = int(maps.shape[2] ** 0.5)
        return self.trans_conv(maps.reshape(*maps.shape[:2], side, side))[:, 0]

    def file(self, **more: Tensor) -> bytes:
        """What ``save_weights(only_trainable=True)`` writes."""
        sink = io.BytesIO()
        torch.save(OrderedDict({**self.state_dict(), **more}), sink)
        return sink.getvalue()
