"""Each image encoded once, and still transformers' own numbers."""

import pytest
import torch
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

from clipseg_ray.training import network
from clipseg_ray.training.initialisation import new_model
from clipseg_ray.training.network import decode, embed_texts, encode, to_maps, to_patches


def config(**changes):
    values = {
        "text_config": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "patch_size": 16,
            "image_size": 64,
        },
        "projection_dim": 16,
        "reduce_dim": 16,
        "decoder_intermediate_size": 32,
        "extract_layers": [0, 2],
        "use_complex_transposed_convolution": True,
    }
    return CLIPSegConfig(**(values | changes))


@pytest.mark.parametrize(
    "changes",
    [{}, {"use_complex_transposed_convolution": False}, {"conditional_layer": 1}],
    ids=["refined", "plain", "conditional-1"],
)
def test_logits_and_gradients_are_those_of_transformers(changes):
    model = new_model(config(**changes), seed=1)
    own = CLIPSegForImageSegmentation(model.config)
    own.load_state_dict(model.state_dict())
    pixels, conditionals = torch.randn(2, 3, 96, 96), torch.randn(6, 16)  # 96: the position grid is interpolated
    labels = torch.rand(6, 96, 96).round()

    taps, prompts = encode(model, pixels, 2)
    logits = decode(model, taps, conditionals)
    assert prompts is None
    states = own.clip.vision_model(pixels.repeat_interleave(3, 0), output_hidden_states=True).hidden_states
    expected = own.decoder([states[layer + 1] for layer in own.config.extract_layers], conditionals).logits
    torch.testing.assert_close(to_maps(logits), expected, rtol=1e-4, atol=1e-5)

    loss = torch.nn.functional.binary_cross_entropy_with_logits
    loss(logits, to_patches(labels, model)).backward()
    loss(expected, labels).backward()
    reached = [
        (a.grad, b.grad) for a, b in zip(model.parameters(), own.parameters(), strict=True) if b.grad is not None
    ]
    assert len(reached) > 40
    for ours, theirs in reached:
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_prompts_of_pictures_and_texts_are_those_of_transformers():
    model = new_model(config(), seed=1)
    pixels = torch.randn(5, 3, 64, 64)
    tokens = torch.tensor([[1, 2, 3, 49407, 49407], [1, 5, 49407, 49407, 49407]])
    with torch.no_grad():
        taps, prompts = encode(model, pixels, 3)
        torch.testing.assert_close(prompts, model.clip.get_image_features(pixels[3:]).pooler_output)
        alone = model.clip.get_text_features(tokens[1:, :3]).pooler_output
        torch.testing.assert_close(embed_texts(model, tokens)[1:], alone)
    assert [len(tap) for tap in taps] == [3, 3]


def test_no_block_is_computed_that_nothing_needs():
    model = new_model(config(), seed=1)
    sizes = []
    for layer in model.clip.vision_model.encoder.layers:
        layer.layer_norm1.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    encode(model, torch.randn(4, 3, 64, 64), 4)
    assert sizes == [4, 4, 4]  # the fourth block lies beyond the deepest tap
    sizes.clear()
    encode(model, torch.randn(4, 3, 64, 64), 3)
    assert sizes == [4, 4, 4, 1]  # and only the prompt goes there


def test_a_new_model_starts_near_the_prior_with_every_unit_alive():
    model = new_model(config(), seed=3)
    taps, _ = encode(model, torch.randn(8, 3, 64, 64), 8)
    logits = decode(model, taps, torch.randn(8, 16))
    assert 0.02 < logits.sigmoid().mean() < 0.3
    assert logits.std() < 2
    hidden = []
    for layer in model.decoder.layers:
        layer.mlp.fc1.register_forward_hook(lambda *found: hidden.append(found[2]))
    model.decoder([tap.detach() for tap in taps], torch.randn(8, 16))
    for activations in hidden:
        assert (activations > 0).flatten(0, 1).any(0).all()


def test_the_seed_decides_the_weights():
    one, again, other = (new_model(config(), seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_dropout_is_that_of_the_authors_blocks():
    """Mean and deviation over many draws are those of torch's TransformerEncoderLayer, which they use."""
    torch.manual_seed(2)
    model = new_model(config(extract_layers=[0]), seed=1).eval()
    taps, conditionals = [torch.randn(1, 5, 32)], torch.randn(1, 16)
    layer, own = model.decoder.layers[0], torch.nn.TransformerEncoderLayer(16, 4, 32, dropout=0.3, batch_first=True)
    attention = layer.self_attn
    parts = [attention.q_proj, attention.k_proj, attention.v_proj]
    with torch.no_grad():
        own.self_attn.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        own.self_attn.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        for mine, theirs in (
            (own.self_attn.out_proj, attention.out_proj),
            (own.linear1, layer.mlp.fc1),
            (own.linear2, layer.mlp.fc2),
            (own.norm1, layer.layer_norm1),
            (own.norm2, layer.layer_norm2),
        ):
            mine.load_state_dict(theirs.state_dict())
        draws = 4000
        reduced = model.decoder.reduces[0](taps[0])
        state = model.decoder.film_mul(conditionals)[:, None] * reduced + model.decoder.film_add(conditionals)[:, None]
        ours = network._post_norm(layer, state.expand(draws, -1, -1), 0.3)
        theirs = own.train()(state.expand(draws, -1, -1))
        still = network._post_norm(layer, state, 0.0)
        torch.testing.assert_close(still, own.eval()(state), rtol=1e-4, atol=1e-5)
        assert ours.std(0).mean() > 0.1
        torch.testing.assert_close(ours.mean(0), theirs.mean(0), rtol=0, atol=0.06)
        torch.testing.assert_close(ours.std(0), theirs.std(0), rtol=0.12, atol=0.01)
        assert not torch.equal(decode(model, taps, conditionals, 0.3), decode(model, taps, conditionals))
        assert torch.equal(decode(model, taps, conditionals), decode(model, taps, conditionals))
