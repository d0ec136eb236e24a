"""CLIPSeg's transformer blocks for inference: a checkpoint's weights, fewer operations than transformers takes."""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from clipseg_ray.model.architecture import BlocksConfig
from clipseg_ray.model.weights import Weights

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

    @classmethod
    def of(cls, layer: Weights) -> "Linear":
        """A checkpoint's layer, without an activation."""
        return cls(layer["weight"], layer["bias"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = super().forward(x)
        if self.activation is None:
            return out
        return F.relu(out, inplace=True) if self.activation == "relu" else F.silu(out, inplace=True)


def layer_norm(layer: Weights, config: BlocksConfig) -> nn.LayerNorm:
    """A frozen copy of a checkpoint's layer norm."""
    norm = nn.LayerNorm(layer["weight"].shape, eps=config.layer_norm_eps)
    norm.load_state_dict({name: layer[name] for name in ("weight", "bias")})
    return norm.requires_grad_(False)


class Attention(nn.Module):
    """Self-attention with one matrix for query, key and value: [..., t, d] → [..., t, d]."""

    def __init__(self, layer: Weights, config: BlocksConfig) -> None:
        super().__init__()
        parts = [layer.under(name) for name in ("q_proj", "k_proj", "v_proj")]
        self.heads = config.num_attention_heads
        self.qkv = Linear(torch.cat([part["weight"] for part in parts]), torch.cat([part["bias"] for part in parts]))
        self.out = Linear.of(layer.under("out_proj"))

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

    def __init__(self, layer: Weights, config: BlocksConfig) -> None:
        super().__init__()
        fc1, fc2 = layer.under("fc1"), layer.under("fc2")
        gain = _QUICK_GELU if config.hidden_act == "quick_gelu" else 1.0
        own: dict[str, Literal["relu", "silu"]] = {"quick_gelu": "silu", "relu": "relu"}
        self.widen = Linear(fc1["weight"] * gain, fc1["bias"] * gain, own.get(config.hidden_act))
        self.narrow = Linear(fc2["weight"] / gain, fc2["bias"])
        self.gelu = config.hidden_act == "gelu"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.widen(x)
        return self.narrow(F.gelu(hidden) if self.gelu else hidden)


class EncoderBlock(nn.Module):
    """Pre-norm block of the vision transformer: [b, t, d] → [b, t, d]."""

    def __init__(self, block: Weights, config: BlocksConfig) -> None:
        super().__init__()
        self.norm1, self.norm2 = (layer_norm(block.under(f"layer_norm{number}"), config) for number in (1, 2))
        self.attention = Attention(block.under("self_attn"), config)
        self.feedforward = FeedForward(block.under("mlp"), config)

    def forward(self, x_btd: torch.Tensor) -> torch.Tensor:
        x_btd = x_btd + self.attention(self.norm1(x_btd))
        return x_btd + self.feedforward(self.norm2(x_btd))


class DecoderBlock(nn.Module):
    """Post-norm block of CLIPSeg's decoder: [p, t, d] → [p, t, d].

    `fused`, when set, replaces ``norm2(x + feedforward(x))`` (see `feedforward_kernel`).
    """

    def __init__(self, block: Weights, config: BlocksConfig) -> None:
        super().__init__()
        self.norm1, self.norm2 = (layer_norm(block.under(f"layer_norm{number}"), config) for number in (1, 2))
        self.attention = Attention(block.under("self_attn"), config)
        self.feedforward = FeedForward(block.under("mlp"), config)
        self.fused: nn.Module | None = None

    def forward(self, x_ptd: torch.Tensor) -> torch.Tensor:
        x_ptd = self.norm1(x_ptd + self.attention(x_ptd))
        if self.fused is not None:
            return self.fused(x_ptd)
        return self.norm2(x_ptd + self.feedforward(x_ptd))
