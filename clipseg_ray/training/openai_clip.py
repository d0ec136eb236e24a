"""CLIP as OpenAI publishes it (``ViT-B-16.pt``): its tensors by transformers' names, its sizes, its tokenizer."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Any, cast

from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import CLIPTokenizer

from clipseg_ray.errors import UserError
from clipseg_ray.training.renaming import renamed

VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
"""The tokenizer's merges, a file of OpenAI's repository (``clip/``)."""

_HEAD_WIDTH = 64
_KIND = r"(weight|bias)"
_TOWERS = (("visual.transformer", "vision_model"), ("transformer", "text_model"))
_NORMS = (("visual.ln_pre", "vision_model.pre_layrnorm"), ("visual.ln_post", "vision_model.post_layernorm"))
_RULES = (
    *(
        rule
        for old, new in ((rf"{old}\.resblocks\.(\d+)", rf"{new}.encoder.layers.\1") for old, new in _TOWERS)
        for rule in (
            (rf"{old}\.attn\.in_proj_{_KIND}", rf"{new}.self_attn.in_proj.\2"),
            (rf"{old}\.attn\.out_proj\.{_KIND}", rf"{new}.self_attn.out_proj.\2"),
            (rf"{old}\.ln_([12])\.{_KIND}", rf"{new}.layer_norm\2.\3"),
            (rf"{old}\.mlp\.c_fc\.{_KIND}", rf"{new}.mlp.fc1.\2"),
            (rf"{old}\.mlp\.c_proj\.{_KIND}", rf"{new}.mlp.fc2.\2"),
        )
    ),
    *((rf"{old}\.{_KIND}", rf"{new}.\1") for old, new in (*_NORMS, ("ln_final", "text_model.final_layer_norm"))),
    (r"visual\.class_embedding", "vision_model.embeddings.class_embedding"),
    (r"visual\.conv1\.weight", "vision_model.embeddings.patch_embedding.weight"),
    (r"visual\.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    (r"token_embedding\.weight", "text_model.embeddings.token_embedding.weight"),
    (r"positional_embedding", "text_model.embeddings.position_embedding.weight"),
    (r"visual\.proj", "visual_projection.weight"),
    (r"text_projection", "text_projection.weight"),
    (r"logit_scale", "logit_scale"),
    (r"input_resolution|context_length|vocab_size", ""),  # numbers, which the shapes say too
)


def towers_of(tensors: Mapping[str, Tensor], source: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """OpenAI's tensors → what a ``config.json`` of CLIP says, and the tensors in float32 by transformers' names.

    Raises UserError for a CLIP that is no vision transformer.
    """
    found, unknown = renamed(tensors, _RULES)
    if unknown or "visual_projection.weight" not in found or "text_projection.weight" not in found:
        strange = f"it holds {unknown[0]}" if unknown else "it lacks visual.proj or text_projection"
        raise UserError(
            f"{source}: no CLIP with a vision transformer ({strange}); the authors' weights are of ViT-B/16"
        )
    found = {name: tensor.float() for name, tensor in found.items()}
    for name in ("visual_projection.weight", "text_projection.weight"):
        found[name] = found[name].T.contiguous()  # OpenAI multiplies from the left
    try:
        return _sizes(found), found
    except KeyError as error:
        raise UserError(f"{source}: lacks CLIP's {error.args[0]}; fetch it again") from None


def _sizes(found: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the shapes say, as a ``config.json`` does."""
    patch = found["vision_model.embeddings.patch_embedding.weight"]
    words = found["text_model.embeddings.token_embedding.weight"]
    grid = round((len(found["vision_model.embeddings.position_embedding.weight"]) - 1) ** 0.5)
    return {
        "model_type": "clip",
        "projection_dim": len(found["visual_projection.weight"]),
        "vision_config": {
            **_blocks(found, "vision_model", len(patch)),
            "patch_size": patch.shape[-1],
            "image_size": grid * patch.shape[-1],
        },
        "text_config": {
            **_blocks(found, "text_model", words.shape[1]),
            "vocab_size": len(words),
            "max_position_embeddings": len(found["text_model.embeddings.position_embedding.weight"]),
            "bos_token_id": len(words) - 2,
            "eos_token_id": len(words) - 1,
            "pad_token_id": len(words) - 1,
        },
    }


def openai_tokenizer(merges_gz: bytes, size: int, source: str) -> CLIPTokenizer:
    """CLIP's tokenizer of ``size`` tokens, from OpenAI's list of merges. Raises UserError where it has too few."""
    try:
        lines = gzip.decompress(merges_gz).decode().split("\n")[1:]
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{source}: no gzipped text; fetch it again") from error
    alphabet = sorted(ByteLevel.alphabet())
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet)]
    merges = [tuple(line.split()) for line in lines[: size - len(tokens) - 2]]
    tokens += ["".join(merge) for merge in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    if len(vocabulary) != size or any(len(merge) != 2 for merge in merges):
        raise UserError(f"{source}: gives {len(vocabulary)} tokens where CLIP's embedding has {size}; fetch it again")
    return CLIPTokenizer(vocab=vocabulary, merges=cast(Any, merges), model_max_length=77)


def _blocks(tensors: Mapping[str, Tensor], tower: str, width: int) -> dict[str, Any]:
    layers = f"{tower}.encoder.layers"
    return {
        "hidden_size": width,
        "intermediate_size": len(tensors[f"{layers}.0.mlp.fc1.weight"]),
        "num_hidden_layers": sum(name.startswith(f"{layers}.") and name.endswith("fc1.bias") for name in tensors),
        "num_attention_heads": width // _HEAD_WIDTH,
        "hidden_act": "quick_gelu",
    }
