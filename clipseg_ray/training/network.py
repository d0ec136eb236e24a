"""CLIPSeg for training: each image encoded once, its queries decoded together, gradients to every parameter.

The parameters are those of transformers' ``CLIPSegForImageSegmentation`` and the results are its own, within rounding;
only the order of the work differs. What does not depend on the query is computed once per image, upsampling layers
whose kernel equals their stride are matrix products, and logits stay in the order in which these give them.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipseg_ray.model.decoder import query_layers

Model = Any
"""transformers' CLIPSegForImageSegmentation, whose sub-modules type checkers cannot see."""


def encode(model: Model, pixels_bchw: Tensor, images: int) -> tuple[list[Tensor], Tensor | None]:
    """One pass of the vision tower over images and, behind them, picture prompts.

    pixels_bchw: normalised [B + M, 3, S, S], of which the first ``images`` are images to be segmented.
    Returns the taps of the images, shallowest first, each [B, 1 + n·n, v], and the prompts' un-normalised projections
    [M, c]; None, and no block beyond the deepest tap, where there are no prompts.
    """
    vision = model.clip.vision_model
    hidden_btv = vision.pre_layrnorm(vision.embeddings(pixels_bchw, interpolate_pos_encoding=True))
    prompts = len(pixels_bchw) > images
    taps: dict[int, Tensor] = {}
    deepest = max(model.config.extract_layers)
    for number, layer in enumerate(vision.encoder.layers):
        if number > deepest:
            if not prompts:
                break
            hidden_btv = hidden_btv[-(len(pixels_bchw) - images) :]  # images need no deeper block
        hidden_btv = _pre_norm(layer, hidden_btv)
        if number in model.config.extract_layers:
            taps[number] = hidden_btv[:images]
    pooled = None
    if prompts:
        class_mv = hidden_btv[-(len(pixels_bchw) - images) :, 0]
        pooled = model.clip.visual_projection(vision.post_layernorm(class_mv))
    return [taps[number] for number in model.config.extract_layers], pooled


def embed_texts(model: Model, tokens_qt: Tensor) -> Tensor:
    """Un-normalised text projections [q, c] of token ids [q, t]; what follows a text's end is never looked at."""
    projections: Tensor = model.clip.get_text_features(tokens_qt).pooler_output
    return projections


def decode(model: Model, taps: Sequence[Tensor], conditionals_rc: Tensor, dropout: float = 0.0) -> Tensor:
    """Logits in patch order (see `to_patches`) of R = B·K conditionals [R, c], K after K for the taps' B images.

    dropout: the share of the blocks' attention weights, hidden units and sums that is left out, as in torch's
    TransformerEncoderLayer, which the authors' decoder is made of.
    """
    decoder = model.decoder
    factor, summand = query_layers(model)
    state: Tensor | None = None
    for number, (tap, layer, reduce) in enumerate(zip(taps[::-1], decoder.layers, decoder.reduces, strict=True)):
        reduced = reduce(tap)[:, None].expand(-1, len(conditionals_rc) // len(tap), -1, -1).flatten(0, 1)
        state = reduced if state is None else reduced + state
        if number == decoder.conditional_layer:
            state = factor(conditionals_rc)[:, None] * state + summand(conditionals_rc)[:, None]
        state = _post_norm(layer, state, dropout)
    assert state is not None
    return _upsample(decoder.transposed_convolution, state[:, 1:])


def to_patches(maps_rhw: Tensor, model: Model) -> Tensor:
    """Maps [R, S, S] in the order that `decode` gives: [R, n, n, k, k, l·l], patches of k·k cells of l·l pixels."""
    outer, inner = _kernels(model.decoder.transposed_convolution)
    side = maps_rhw.shape[-1] // (outer * inner)
    split = maps_rhw.view(-1, side, outer, inner, side, outer, inner)
    return split.permute(0, 1, 4, 2, 5, 3, 6).flatten(5)


def to_maps(logits: Tensor) -> Tensor:
    """The inverse of `to_patches`: [R, S, S]."""
    rows, side, _, outer, _, cells = logits.shape
    inner = int(cells**0.5)
    split = logits.view(rows, side, side, outer, outer, inner, inner)
    return split.permute(0, 1, 3, 5, 2, 4, 6).reshape(rows, side * outer * inner, side * outer * inner)


def _pre_norm(layer: Any, state: Tensor) -> Tensor:
    state = state + _attention(layer.self_attn, layer.layer_norm1(state))
    return state + _feedforward(layer.mlp, layer.layer_norm2(state))


def _post_norm(layer: Any, state: Tensor, dropout: float) -> Tensor:
    state = layer.layer_norm1(state + F.dropout(_attention(layer.self_attn, state, dropout), dropout))
    result: Tensor = layer.layer_norm2(state + F.dropout(_feedforward(layer.mlp, state, dropout), dropout))
    return result


def _attention(attention: Any, state_btd: Tensor, dropout: float = 0.0) -> Tensor:
    batch, length, width = state_btd.shape
    query, key, value = attention.q_proj, attention.k_proj, attention.v_proj
    weight = torch.cat([query.weight * attention.scale, key.weight, value.weight])
    bias = torch.cat([query.bias * attention.scale, key.bias, value.bias])
    split = F.linear(state_btd, weight, bias).view(batch, length, 3, attention.num_heads, attention.head_dim)
    query_bhtd, key_bhtd, value_bhtd = split.permute(2, 0, 3, 1, 4)
    if state_btd.device.type == "cpu" and state_btd.dtype == torch.bfloat16:
        # torch's fused kernel for CPUs takes six times as long backwards in bf16 as this line does
        weights_bhtt = torch.matmul(query_bhtd, key_bhtd.transpose(-1, -2)).softmax(-1)
        mixed = torch.matmul(F.dropout(weights_bhtt, dropout), value_bhtd)
    else:
        mixed = F.scaled_dot_product_attention(query_bhtd, key_bhtd, value_bhtd, dropout_p=dropout, scale=1.0)
    projected: Tensor = attention.out_proj(mixed.transpose(1, 2).reshape(batch, length, width))
    return projected


def _feedforward(mlp: Any, state: Tensor, dropout: float = 0.0) -> Tensor:
    if mlp.config.hidden_act != "quick_gelu":
        result: Tensor = mlp.fc2(F.dropout(mlp.activation_fn(mlp.fc1(state)), dropout))
        return result
    # quick_gelu(z) = z·sigmoid(1.702·z) = silu(1.702·z) / 1.702: with the factors in the weights, one pass instead of 3
    hidden = F.silu(F.linear(state, mlp.fc1.weight * 1.702, mlp.fc1.bias * 1.702))
    return F.linear(F.dropout(hidden, dropout), mlp.fc2.weight / 1.702, mlp.fc2.bias)


def _upsample(head: Any, tokens_rtd: Tensor) -> Tensor:
    rows, length, width = tokens_rtd.shape
    side = int(length**0.5)
    if isinstance(head, nn.ConvTranspose2d):
        return _expand(head, tokens_rtd.view(rows, side, side, width)).flatten(5)
    convolution, _, first, _, second = head
    maps_rdhw = tokens_rtd.transpose(1, 2).reshape(rows, width, side, side)
    maps_rhwd = F.relu(convolution(maps_rdhw)).permute(0, 2, 3, 1)
    cells = F.relu(_expand(first, maps_rhwd))
    return _expand(second, cells).flatten(5)


def _expand(layer: nn.ConvTranspose2d, maps: Tensor) -> Tensor:
    """A transposed convolution whose kernel equals its stride: [..., c] → [..., k, k, o]."""
    kernel = layer.kernel_size[0]
    weight = layer.weight.permute(0, 2, 3, 1).reshape(layer.in_channels, -1)
    bias = layer.bias.repeat(kernel * kernel) if layer.bias is not None else None
    return F.linear(maps, weight.t(), bias).unflatten(-1, (kernel, kernel, layer.out_channels))


def _kernels(head: Any) -> tuple[int, int]:
    if isinstance(head, nn.ConvTranspose2d):
        return head.kernel_size[0], 1
    return head[2].kernel_size[0], head[4].kernel_size[0]
