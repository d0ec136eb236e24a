"""What training starts from: a model, its tokenizer and preprocessing, from scratch or over a checkpoint's CLIP."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from transformers import AutoTokenizer, CLIPSegConfig, CLIPSegForImageSegmentation

from clipseg_ray.errors import UserError
from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.cleaning import cleaned
from clipseg_ray.pixels.preprocessing import Preprocessing
from clipseg_ray.training.config import TrainingModelConfig
from clipseg_ray.training.initialisation import new_model
from clipseg_ray.training.plain_clip import is_plain_clip, open_clip
from clipseg_ray.training.saving import imagenet_preprocessing, quiet
from clipseg_ray.training.tokenizer import make_tokenizer


@dataclass(frozen=True)
class Start:
    """frozen_clip: only the decoder's parameters ask for gradients."""

    model: Any
    tokenizer: Any
    preprocessing: Preprocessing
    frozen_clip: bool


class _Parts(NamedTuple):
    """What a checkpoint gives: the model to be, but for the decoder's weights."""

    architecture: Any
    towers: dict[str, torch.Tensor]
    tokenizer: Any
    preprocessing: Preprocessing


def start(config: TrainingModelConfig, texts: Iterable[str], seed: int) -> Start:
    """The model to train. From scratch its tokenizer knows the words of ``texts``; weights are drawn from ``seed``.

    Over a checkpoint, CLIPSeg's or CLIP alone, the decoder is new and everything else the checkpoint's; images are of
    ``config.image_size``. Raises UserError for a checkpoint that cannot be loaded or lacks a block of
    ``extract_layers``.
    """
    decoder: dict[str, Any] = {
        "reduce_dim": config.reduce_dim,
        "decoder_num_attention_heads": config.decoder_heads,
        "decoder_intermediate_size": config.decoder_intermediate_size,
        "extract_layers": list(config.extract_layers),
        "use_complex_transposed_convolution": config.refined,
    }
    if config.checkpoint is None:
        tokenizer = make_tokenizer(_words(texts))
        architecture = CLIPSegConfig(
            text_config=config.text.model_dump() | _ids(tokenizer),
            vision_config=config.vision.model_dump() | {"image_size": config.image_size},
            projection_dim=config.projection_dim,
            **decoder,
        )
        return Start(
            new_model(architecture, seed), tokenizer, imagenet_preprocessing(config.image_size), frozen_clip=False
        )
    over = _over_clip if is_plain_clip(config.checkpoint) else _over_clipseg
    architecture, towers, tokenizer, preprocessing = over(config.checkpoint, decoder)
    depth = architecture.vision_config.num_hidden_layers
    if max(config.extract_layers) >= depth:
        raise UserError(f"model.extract_layers: {config.checkpoint} has blocks 0…{depth - 1}")
    model: Any = new_model(architecture, seed, towers=False)
    model.clip.load_state_dict(towers)
    frozen = config.train != "everything"
    model.clip.requires_grad_(not frozen)
    return Start(model, tokenizer, replace(preprocessing, size=config.image_size), frozen_clip=frozen)


def _over_clipseg(checkpoint: str, decoder: dict[str, Any]) -> _Parts:
    loaded = checkpoints.load(checkpoint)
    with quiet():
        given: Any = CLIPSegForImageSegmentation.from_pretrained(loaded.folder, dtype=torch.float32)
    given.config.update(decoder)
    tokenizer = AutoTokenizer.from_pretrained(loaded.folder)
    return _Parts(given.config, given.clip.state_dict(), tokenizer, loaded.preprocessing)


def _over_clip(checkpoint: str, decoder: dict[str, Any]) -> _Parts:
    """Images are normalised as CLIPSeg's authors do, whatever CLIP's own files say."""
    clip = open_clip(checkpoint, "model.checkpoint")
    config = clip.with_decoder(decoder)
    preprocessing = imagenet_preprocessing(config.vision_config.image_size)
    return _Parts(clip.for_transformers(config), clip.tensors, clip.tokenizer, preprocessing)


def _words(texts: Iterable[str]) -> set[str]:
    """The runs of letters in the texts, as CLIP's tokenizer cuts them."""
    return {word for text in texts for word in re.findall(r"[^\W\d_]+", cleaned(text).casefold())}


def _ids(tokenizer: Any) -> dict[str, int]:
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
