"""CLIP's two towers for prompts, operation by operation as transformers runs them: its vectors to the last bit.

Masks follow these vectors, and a prompt is embedded once a run: here nothing is rebuilt to be faster (see ``encoder``).
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from clipseg_ray.model.architecture import BlocksConfig, ClipsegConfig, VisionConfig
from clipseg_ray.model.weights import Weights

_OLD_END = 2
"""What released configurations say for the end token, wrongly: the text's end is then where its largest id is."""


def text_projections(config: ClipsegConfig, weights: Weights, ids_qt: torch.Tensor) -> torch.Tensor:
    """Token ids of texts of one length, int64 [q, t] → their un-normalised projections, float32 [q, c]."""
    clip, tower = weights.under("clip"), config.text_config
    model = clip.under("text_model")
    embeddings = model.under("embeddings")
    positions_td = embeddings["position_embedding.weight"][: ids_qt.shape[1]]
    x_qtd = F.embedding(ids_qt, embeddings["token_embedding.weight"]) + positions_td
    x_qtd = _norm(model.under("final_layer_norm"), tower, _blocks(model, tower, x_qtd, causal=True))
    ends_qt = ids_qt.int() if tower.eos_token_id == _OLD_END else (ids_qt == tower.eos_token_id).int()
    pooled_qd = x_qtd[torch.arange(len(x_qtd)), ends_qt.argmax(dim=-1)]
    return F.linear(pooled_qd, clip["text_projection.weight"])


def image_projections(config: ClipsegConfig, weights: Weights, pixels_bchw: torch.Tensor) -> torch.Tensor:
    """Normalised square images, float32 [b, 3, S, S] → their un-normalised projections, float32 [b, c]."""
    clip, tower = weights.under("clip"), config.vision_config
    model = clip.under("vision_model")
    x_btd = _norm(model.under("pre_layrnorm"), tower, _patches(model.under("embeddings"), tower, pixels_bchw))
    pooled_bd = _blocks(model, tower, x_btd, causal=False)[:, 0]
    return F.linear(_norm(model.under("post_layernorm"), tower, pooled_bd), clip["visual_projection.weight"])


def position_rows(embeddings: Weights, grid: int) -> torch.Tensor:
    """The image tower's position embedding for ``grid``² patches behind the class token: [1 + grid², d]."""
    rows_td = embeddings["position_embedding.weight"]
    native = math.isqrt(len(rows_td) - 1)
    if native == grid:
        return rows_td
    square = rows_td[1:].reshape(1, native, native, -1).permute(0, 3, 1, 2)
    square = F.interpolate(square, (grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([rows_td[:1], square.permute(0, 2, 3, 1).reshape(grid**2, -1)])


def _patches(embeddings: Weights, tower: VisionConfig, pixels_bchw: torch.Tensor) -> torch.Tensor:
    kernel = embeddings["patch_embedding.weight"]
    patches_btd = F.conv2d(pixels_bchw, kernel, stride=tower.patch_size).flatten(2).transpose(1, 2)
    class_b1d = embeddings["class_embedding"].expand(len(pixels_bchw), 1, -1)
    grid = pixels_bchw.shape[-1] // tower.patch_size
    return torch.cat([class_b1d, patches_btd], dim=1) + position_rows(embeddings, grid)


def _blocks(model: Weights, tower: BlocksConfig, x_btd: torch.Tensor, *, causal: bool) -> torch.Tensor:
    layers = model.under("encoder.layers")
    for index in range(tower.num_hidden_layers):
        block = layers.under(index)
        attention, feedforward = block.under("self_attn"), block.under("mlp")
        x_btd = x_btd + _attend(attention, tower, _norm(block.under("layer_norm1"), tower, x_btd), causal)
        hidden = _linear(feedforward.under("fc1"), _norm(block.under("layer_norm2"), tower, x_btd))
        x_btd = x_btd + _linear(feedforward.under("fc2"), _activated(tower.hidden_act, hidden))
    return x_btd


def _attend(layer: Weights, tower: BlocksConfig, x_btd: torch.Tensor, causal: bool) -> torch.Tensor:
    query, key, value = (
        _linear(layer.under(name), x_btd).unflatten(-1, (tower.num_attention_heads, -1)).transpose(1, 2)
        for name in ("q_proj", "k_proj", "v_proj")
    )
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
    return _linear(layer.under("out_proj"), mixed.transpose(1, 2).flatten(2))


def _activated(name: str, x: torch.Tensor) -> torch.Tensor:
    if name == "quick_gelu":
        return x * torch.sigmoid(1.702 * x)
    return F.gelu(x) if name == "gelu" else F.relu(x)


def _linear(layer: Weights, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, layer["weight"], layer["bias"])


def _norm(layer: Weights, tower: BlocksConfig, x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], layer["weight"], layer["bias"], tower.layer_norm_eps)
