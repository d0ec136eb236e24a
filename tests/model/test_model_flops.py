"""Operation counts against a count by hand of the released architecture."""

import pytest
from transformers import CLIPSegConfig

from clipseg_ray.model.flops import decoder_flops, encoder_flops


def released(**changes):
    vision = {"patch_size": 16, "image_size": 224} | changes.pop("vision_config", {})
    return CLIPSegConfig(vision_config=vision, use_complex_transposed_convolution=True, **changes)


def test_the_encoder_of_vit_b_16_at_352_is_counted_as_by_hand():
    tokens, patches = 485, 484
    weights_of_a_block = 4 * 768**2 + 2 * 768 * 3072
    attention = 2 * tokens**2 * 768  # multiply-adds of QKᵀ and of its product with V
    by_hand = 10 * 2 * (tokens * weights_of_a_block + attention)
    by_hand += 2 * patches * 768 * 768 + 3 * 2 * tokens * 768 * 64
    assert encoder_flops(released(), 352) == by_hand
    assert by_hand == pytest.approx(76.5e9, rel=2e-3)


def test_only_blocks_up_to_the_deepest_tap_count():
    less = encoder_flops(released(), 352) - encoder_flops(released(extract_layers=[3, 6, 8]), 352)
    assert less == pytest.approx(7.588e9, rel=1e-3)
    last = encoder_flops(released(extract_layers=[3, 6, -2]), 352)  # transformers adds one: the last state
    assert last - encoder_flops(released(), 352) == pytest.approx(2 * 7.588e9, rel=1e-3)


def test_decoders_are_counted_as_by_hand():
    tokens, patches = 485, 484
    blocks = 3 * 2 * (tokens * (4 * 64**2 + 2 * 64 * 2048) + 2 * tokens**2 * 64)
    refined = 2 * patches * (9 * 64 * 64 + 64 * 32 * 16 + 16 * 32 * 16)
    assert decoder_flops(released(), 352) == blocks + refined
    assert decoder_flops(released(), 352) == pytest.approx(1.07e9, rel=5e-3)
    plain = CLIPSegConfig(vision_config={"patch_size": 16, "image_size": 224})
    assert decoder_flops(plain, 352) == blocks + 2 * patches * 64 * 256
