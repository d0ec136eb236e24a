"""The decoder that CLIPSeg's authors save (``weights.pth``, all that they train), by transformers' names.

Names and shapes are those of ``models/clipseg.py`` of github.com/timojl/clipseg. Their files hold no CLIP, and do not
say which of its blocks the decoder takes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clipseg_ray.errors import UserError, brief
from clipseg_ray.training.renaming import renamed

HEADS = 4
"""Attention heads of every decoder the authors made; nothing in a file says how many."""

_KIND = r"(weight|bias)"
_RULES = (
    (rf"(film_mul|film_add|reduces\.\d+)\.{_KIND}", r"\1.\2"),
    (rf"blocks\.(\d+)\.self_attn\.in_proj_{_KIND}", r"layers.\1.self_attn.in_proj.\2"),
    (rf"blocks\.(\d+)\.self_attn\.out_proj\.{_KIND}", r"layers.\1.self_attn.out_proj.\2"),
    (rf"blocks\.(\d+)\.linear([12])\.{_KIND}", r"layers.\1.mlp.fc\2.\3"),
    (rf"blocks\.(\d+)\.norm([12])\.{_KIND}", r"layers.\1.layer_norm\2.\3"),
    (rf"trans_conv\.((?:[024]\.)?{_KIND})", r"transposed_convolution.\1"),
    (rf"reduce\.{_KIND}", ""),  # made, trained by nothing, never used
)


def read_decoder(data: bytes, source: str) -> dict[str, Tensor]:
    """The tensors in float32, named as in transformers' ``CLIPSegDecoder``; ``source``: what messages call the file.

    Raises UserError for what is no such file, and for models of theirs that transformers' CLIPSeg is not.
    """
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each raise their own kinds
        raise UserError(f"{source}: no weights that can be read without running code ({brief(error)})") from error
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{source}: holds something else than tensors by name; give the authors' weights.pth")
    tensors, unknown = renamed(content, _RULES)
    if unknown:
        raise UserError(
            f"{source}: holds {unknown[0]}{f' and {len(unknown) - 1} more' if len(unknown) > 1 else ''}, which "
            "CLIPSeg's decoder has no place for; give a CLIPDensePredT saved with save_only_trainable"
        )
    needed = ("film_mul.weight", "reduces.0.weight", "layers.0.mlp.fc1.weight")
    if missing := [name for name in needed if name not in tensors]:
        raise UserError(f"{source}: lacks the decoder's {missing[0]}; give the authors' weights.pth")
    if broken := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise UserError(f"{source}: {broken[0]} has numbers that are not finite; fetch the file again")
    return {name: tensor.float() for name, tensor in tensors.items()}


def decoder_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the shapes say, by the keys of ``config.json``."""
    return {
        "reduce_dim": len(tensors["film_mul.weight"]),
        "decoder_intermediate_size": len(tensors["layers.0.mlp.fc1.weight"]),
        "decoder_num_attention_heads": HEADS,
        "use_complex_transposed_convolution": "transposed_convolution.0.weight" in tensors,
    }


def taps_of(tensors: Mapping[str, Tensor]) -> int:
    """How many of CLIP's blocks the decoder takes."""
    return sum(name.startswith("reduces.") and name.endswith(".weight") for name in tensors)
