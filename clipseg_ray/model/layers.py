"""Transformer blocks rebuilt from transformers' CLIPSeg layers, for inference: same weights, fewer operations."""

from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F
from transformers.activations import ACT2FN

_QUICK_GELU = 1.702


class Linear(nn.Linear):
    """A frozen ``activation(x·Wᵀ + b)``; `activation` is None, "relu" or "silu". It keeps copies of the weights."""

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, activation: Literal["relu", "silu"] | None = None
    ) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
        self.weight = nn.Parameter(weight.detach().clone().contiguous(), requires_grad=False)
        if bias is not None:
            self.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = super().forward(x)
        if self.activation is None:
            return out
        return F.relu(out, inplace=True) if self.activation == "relu" else F.silu(out, inplace=True)


def layer_norm(source: Any) -> nn.LayerNorm:
    """A frozen copy of a layer norm."""
    layer = nn.LayerNorm(source.normalized_shape, eps=source.eps)
    layer.load_state_dict(source.state_dict())
    return layer.requires_grad_(False)


class Attention(nn.Module):
    """Self-attention with one matrix for query, key and value: [..., t, d] → [..., t, d]."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        parts = (source.q_proj, source.k_proj, source.v_proj)
        self.heads = source.num_heads
        self.qkv = Linear(torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]))
        self.out = Linear(source.out_proj.weight, source.out_proj.bias)

    def forward(self, x_btd: torch.Tensor) -> torch.Tensor:
        b, t, d = x_btd.shape
        qkv = self.qkv(x_btd).view(b, t, 3, self.heads, d // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(b, t, d))


class FeedForward(nn.Module):
    """Linear, activation, linear.

    quick_gelu(z) = z·sigmoid(1.702·z) = silu(1.702·z) / 1.702: the factors go into the weights, and what is left is
    the first layer's own activation.
    """

    def __init__(self, source: Any) -> None:
        super().__init__()
        # CLIPSegMLP takes its activation from the config it was built with; the decoder's is always ReLU.
        name = source.config.hidden_act
        gain = _QUICK_GELU if name == "quick_gelu" else 1.0
        own: dict[str, Literal["relu", "silu"]] = {"quick_gelu": "silu", "relu": "relu"}
        self.widen = Linear(source.fc1.weight * gain, source.fc1.bias * gain, own.get(name))
        self.narrow = Linear(source.fc2.weight / gain, source.fc2.bias)
        self.activation = None if name in own else ACT2FN[name]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.widen(x)
        if self.activation is not None:
            hidden = self.activation(hidden)
        return self.narrow(hidden)


class EncoderBlock(nn.Module):
    """Pre-norm block of the vision transformer: [b, t, d] → [b, t, d]."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.norm1, self.norm2 = layer_norm(source.layer_norm1), layer_norm(source.layer_norm2)
        self.attention, self.feedforward = Attention(source.self_attn), FeedForward(source.mlp)

    def forward(self, x_btd: torch.Tensor) -> torch.Tensor:
        x_btd = x_btd + self.attention(self.norm1(x_btd))
        return x_btd + self.feedforward(self.norm2(x_btd))


class DecoderBlock(nn.Module):
    """Post-norm block of CLIPSeg's decoder: [p, t, d] → [p, t, d].

    `fused`, when set, replaces ``norm2(x + feedforward(x))`` (see `feedforward_kernel`).
    """

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.norm1, self.norm2 = layer_norm(source.layer_norm1), layer_norm(source.layer_norm2)
        self.attention, self.feedforward = Attention(source.self_attn), FeedForward(source.mlp)
        self.fused: nn.Module | None = None

    def forward(self, x_ptd: torch.Tensor) -> torch.Tensor:
        x_ptd = self.norm1(x_ptd + self.attention(x_ptd))
        if self.fused is not None:
            return self.fused(x_ptd)
        return self.norm2(x_ptd + self.feedforward(x_ptd))
