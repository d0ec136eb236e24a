"""Floating-point operations of CLIPSeg's two halves, counted from its configuration.

A multiply and an add are two operations. Only matrix products and attention count; norms, activations and sums are
left out, as they are in the peak they are held against.
"""

from __future__ import annotations

from typing import Any


def encoder_flops(config: Any, size: int) -> float:
    """Of one image of ``size`` pixels square: the blocks up to the deepest tap, patch embedding and reduces.

    config: a ``ClipsegConfig``, or transformers' own. ViT-B/16 at 352 pixels with taps 3, 6, 9 (10 blocks): 76.6e9.
    """
    vision = config.vision_config
    patches = (size // vision.patch_size) ** 2
    tokens, width = patches + 1, vision.hidden_size
    states = range(vision.num_hidden_layers + 1)
    depth = max(states[index + 1] for index in config.extract_layers)
    embedding = _product(patches, 3 * vision.patch_size**2, width)
    reduces = len(config.extract_layers) * _product(tokens, width, config.reduce_dim)
    return embedding + depth * _block(tokens, width, vision.intermediate_size) + reduces


def decoder_flops(config: Any, size: int) -> float:
    """Of one (image, query): the blocks from the conditional layer on and the head. Refined rd64 at 352: 1.07e9."""
    patch, width = config.vision_config.patch_size, config.reduce_dim
    patches = (size // patch) ** 2
    blocks = len(config.extract_layers) - config.conditional_layer
    total = blocks * _block(patches + 1, width, config.decoder_intermediate_size)
    if not config.use_complex_transposed_convolution:
        return total + _product(patches, width, patch**2)
    first, half = patch // 4, width // 2  # side of the first transposed kernel; the second one's is 4
    convolution = _product(patches, 9 * width, width)
    return total + convolution + _product(patches, width, half * first**2) + _product(patches * first**2, half, 16)


def _product(rows: int, inner: int, columns: int) -> float:
    return 2.0 * rows * inner * columns


def _block(tokens: int, width: int, hidden: int) -> float:
    projections = 4 * _product(tokens, width, width)
    attention = 2 * _product(tokens, width, tokens)
    return projections + attention + 2 * _product(tokens, width, hidden)


_RATE = {"cpu": 60e9, "cuda": 200e12}
"""Operations a second that one actor may be expected to do, for deciding only."""
_LONG_S = {"cpu": 1800.0, "cuda": 600.0}
"""Compiling costs each actor about half a minute on a CPU and a minute on a GPU, for a few per cent on fp32 CPUs."""


def worth_compiling(config: Any, size: int, device: str, *, images: int, masks: int, actors: int) -> bool:
    """Whether so much work, shared by so many actors, lasts long enough to repay compiling in each of them."""
    work = images * encoder_flops(config, size) + masks * decoder_flops(config, size)
    return work / _RATE[device] / actors > _LONG_S[device]
