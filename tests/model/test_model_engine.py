"""The engine against transformers: the same logits, for any checkpoint, in bounded memory."""

import logging

import numpy as np
import pytest
import torch

from benchmarks.random_checkpoint import write_checkpoint
from clipseg_ray.masks.threshold import pack
from clipseg_ray.model.checkpoint import load
from clipseg_ray.model.embedding import normalise
from clipseg_ray.model.encoding import Encoding
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.model.program import Program
from tests import reference
from tests.model.peak_memory import peak_kib


def _pixels(n, side, seed=3):
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (n, 3, 5, 5)))
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 255)
    return smooth.permute(0, 2, 3, 1).to(torch.uint8).numpy()


def _conditionals(n, width, seed=4):
    return np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)


@torch.inference_mode()
def _reference(checkpoint, pixels_bhwc, conditionals_qc):
    """Logits [b, q, h, w] as transformers gives them, an image repeated for each query."""
    pixels_bchw = normalise(torch.from_numpy(pixels_bhwc), checkpoint.preprocessing)
    conditionals, model = torch.from_numpy(conditionals_qc), reference.model_of(checkpoint)
    rows = [
        model(pixel_values=image.expand(len(conditionals), -1, -1, -1), conditional_embeddings=conditionals).logits
        for image in pixels_bchw
    ]
    return torch.stack(rows)


def _engine(checkpoint, batch=2, decode_chunk=4, optional=(), **options):
    model = make_model(checkpoint, batch=batch, decode_chunk=decode_chunk, columns=optional, **options)
    return Engine(model, dict.fromkeys(optional, True))


def _assert_exact(logits_bqwh, reference_bqhw):
    error = (logits_bqwh.transpose(2, 3) - reference_bqhw).abs().max().item()
    assert error <= 2e-5 * max(1.0, reference_bqhw.std().item())


CONFIGS = {
    "as released, small": {},
    "plain head": {"use_complex_transposed_convolution": False},
    "patch 32": {"vision_config": {"patch_size": 32, "image_size": 64}, "image_size": 160},
    "patch 8, kernels 2": {"vision_config": {"patch_size": 8, "image_size": 32}, "image_size": 64},
    "patch 6, kernels 1": {"vision_config": {"patch_size": 6, "image_size": 24}, "image_size": 48},
    "plain head, patch 6": {
        "vision_config": {"patch_size": 6, "image_size": 24},
        "image_size": 48,
        "use_complex_transposed_convolution": False,
    },
    "native grid": {"image_size": 224},
    "side no multiple of the patch": {"image_size": 107},
    "two taps": {"extract_layers": [0, 4]},
    "four taps": {"extract_layers": [0, 1, 2, 3]},
    "taps out of order": {"extract_layers": [3, 0, 2]},
    "the first tap before any block": {"extract_layers": [-1, 1, 2]},
    "conditional layer 1": {"conditional_layer": 1},
    "conditional layer 2": {"conditional_layer": 2},
    "reduce 16, two heads": {"reduce_dim": 16, "decoder_num_attention_heads": 2},
    "projection 48": {"projection_dim": 48},
    "decoder feed-forward 96": {"decoder_intermediate_size": 96},
    "gelu": {"vision_config": {"hidden_act": "gelu"}},
    "layer norm eps": {"vision_config": {"layer_norm_eps": 1e-2}},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_equal_transformers_for_any_config(name, tmp_path):
    write_checkpoint(tmp_path, **({"image_size": 96} | CONFIGS[name]))
    checkpoint = load(str(tmp_path))
    pixels = _pixels(3, checkpoint.preprocessing.size)
    conditionals = _conditionals(3, checkpoint.config.projection_dim)
    reference = _reference(checkpoint, pixels, conditionals)
    engine = _engine(checkpoint)
    logits = engine.decode(engine.encode(pixels), engine.embed(conditionals))
    assert engine.grid == tuple(reference.shape[2:])
    _assert_exact(logits, reference)


@pytest.mark.parametrize("refined", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_logits_equal_transformers_for_the_released_architecture(refined, tmp_path):
    write_checkpoint(tmp_path, architecture="rd64-refined" if refined else "rd64", image_size=352)
    checkpoint = load(str(tmp_path))
    pixels, conditionals = _pixels(1, 352), _conditionals(2, 512)
    engine = _engine(checkpoint)
    logits = engine.decode(engine.encode(pixels), engine.embed(conditionals))
    assert engine.grid == (352, 352)
    _assert_exact(logits, _reference(checkpoint, pixels, conditionals))


@pytest.fixture(scope="module")
def inputs(demo):
    return _pixels(5, 96), _conditionals(7, demo.config.projection_dim)


def _collect(blocks):
    """Blocks → {(image, query): (bits, max, sum)}, each pair once."""
    rows = {}
    for block in blocks:
        for p, pair in enumerate(zip(block.image_index_p.tolist(), block.query_index_p.tolist(), strict=True)):
            assert pair not in rows
            rows[pair] = (block.bits_pn[p], block.max_logit_p[p], block.probability_sum_p[p])
    return rows


def test_segment_gives_every_product_row_in_chunks_with_its_own_threshold(demo, inputs):
    pixels, conditionals = inputs
    engine = _engine(demo, decode_chunk=4)
    thresholds = np.linspace(-2, 2, 7)
    blocks = list(engine.segment(pixels, engine.embed(conditionals), thresholds))
    assert max(len(block.image_index_p) for block in blocks) == 4
    rows = _collect(blocks)
    assert sorted(rows) == [(b, q) for b in range(5) for q in range(7)]
    logits = _reference(demo, pixels, conditionals).transpose(2, 3)
    covered = 0
    for (b, q), (bits, max_logit, probability_sum) in rows.items():
        packed = pack(logits[b, q][None], torch.tensor([thresholds[q]], dtype=torch.float32))
        flipped = np.unpackbits(bits ^ packed.bits_pn[0].numpy()).sum()
        assert flipped <= 2  # pixels on the threshold itself
        assert max_logit == pytest.approx(packed.max_logit_p.item(), abs=1e-4)
        assert probability_sum == pytest.approx(packed.probability_sum_p.item(), abs=2, rel=1e-3)
        covered += np.unpackbits(bits).sum()
    assert 0 < covered < 35 * 96 * 96


def test_pairs_cost_and_give_their_own_rows_only(demo, inputs, monkeypatch):
    pixels, conditionals = inputs
    engine = _engine(demo)
    prompts, thresholds = engine.embed(conditionals), np.zeros(7)
    everything = _collect(engine.segment(pixels, prompts, thresholds))
    encoded = []
    original = Encoding._encode
    monkeypatch.setattr(Encoding, "_encode", lambda self, up, count: encoded.append(count) or original(self, up, count))
    pairs = (np.array([4, 1, 4, 1, 1]), np.array([0, 6, 3, 2, 5]))
    rows = _collect(engine.segment(pixels, prompts, thresholds, pairs=pairs))
    assert sum(encoded) == 2
    assert list(rows) == [(1, 6), (1, 2), (1, 5), (4, 0), (4, 3)]
    for pair, (bits, max_logit, _) in rows.items():
        assert np.unpackbits(bits ^ everything[pair][0]).sum() <= 2
        assert max_logit == pytest.approx(everything[pair][1], abs=1e-4)
    assert list(engine.segment(pixels, prompts, thresholds, pairs=(np.array([], int), np.array([], int)))) == []


def test_features_serve_several_prompt_sets(demo, inputs):
    pixels, conditionals = inputs
    engine = _engine(demo)
    features = engine.encode(pixels)
    for prompts in (engine.embed(conditionals[:3]), engine.embed(conditionals[3:])):
        direct = _collect(engine.segment(pixels, prompts, np.zeros(len(prompts))))
        cached = _collect(engine.segment(features, prompts, np.zeros(len(prompts))))
        assert direct.keys() == cached.keys()
        assert all((direct[pair][0] == cached[pair][0]).all() for pair in direct)


def test_decode_pairs_is_a_selection_of_decode(demo, inputs):
    pixels, conditionals = inputs
    engine = _engine(demo, decode_chunk=3)
    features, prompts = engine.encode(pixels), engine.embed(conditionals)
    whole = engine.decode(features, prompts)
    images, queries = np.array([3, 0, 0, 4]), np.array([6, 1, 1, 0])
    chunks = [chunk.clone() for chunk in engine.decode_pairs(features, images, prompts, queries)]
    assert [len(chunk) for chunk in chunks] == [3, 1]
    torch.testing.assert_close(torch.cat(chunks), whole[images, queries], atol=1e-4, rtol=0)


def test_wanted_logits_come_for_rows_that_are_not_empty(demo, inputs):
    pixels, conditionals = inputs
    engine = _engine(demo)
    prompts = engine.embed(conditionals)
    whole = engine.decode(engine.encode(pixels), prompts).numpy()
    thresholds = np.full(7, np.median(whole.max(axis=(2, 3))))
    kept = 0
    for block in engine.segment(pixels, prompts, thresholds, want_logits=True):
        above = whole[block.image_index_p, block.query_index_p].max(axis=(1, 2)) > thresholds[0]
        assert block.logits_row_k.tolist() == np.flatnonzero(above).tolist()
        chosen = (block.image_index_p[above], block.query_index_p[above])
        np.testing.assert_allclose(block.logits_kwh, whole[chosen], atol=1e-4)
        kept += len(block.logits_kwh)
    assert 0 < kept < 35


def test_logits_that_are_not_finite_show_in_the_maximum(demo, inputs):
    pixels, conditionals = inputs
    conditionals = conditionals.copy()
    conditionals[2] = np.nan
    engine = _engine(demo)
    rows = _collect(engine.segment(pixels[:2], engine.embed(conditionals), np.zeros(7)))
    assert {pair for pair, row in rows.items() if not np.isfinite(row[1])} == {(0, 2), (1, 2)}


def test_presence_is_clips_cosine(demo, inputs):
    pixels, conditionals = inputs
    engine = _engine(demo, optional=["presence"])
    with torch.inference_mode():
        pixels_bchw = normalise(torch.from_numpy(pixels), demo.preprocessing)
        images_bc = reference.model_of(demo).clip.get_image_features(pixels_bchw).pooler_output
    expected = torch.cosine_similarity(images_bc[:, None], torch.from_numpy(conditionals)[None], dim=-1).numpy()
    seen = 0
    for block in engine.segment(pixels, engine.embed(conditionals), np.zeros(7)):
        presence_p = block.optional["presence"]
        np.testing.assert_allclose(presence_p, expected[block.image_index_p, block.query_index_p], atol=1e-5)
        seen += len(presence_p)
    assert seen == 35
    _assert_exact(
        engine.decode(engine.encode(pixels), engine.embed(conditionals)), _reference(demo, pixels, conditionals)
    )
    plain = _engine(demo)
    assert next(plain.segment(pixels, plain.embed(conditionals), np.zeros(7))).optional == {}


def _iou(ours, theirs):
    both = sum(np.unpackbits(ours[pair][0] & theirs[pair][0]).sum() for pair in ours)
    either = sum(np.unpackbits(ours[pair][0] | theirs[pair][0]).sum() for pair in ours)
    return both / either


def test_bf16_masks_agree_with_fp32(demo, inputs):
    pixels, conditionals = inputs
    exact, rough = _engine(demo), _engine(demo, precision="bf16")
    assert rough.encode(pixels).taps_kbtd.dtype == torch.bfloat16
    masks = [_collect(engine.segment(pixels, engine.embed(conditionals), np.zeros(7))) for engine in (exact, rough)]
    assert 0.95 < _iou(*masks) < 1  # 1 would mean that bf16 was not in use


@pytest.mark.slow
def test_compiled_masks_agree_and_odd_sizes_do_not_recompile(demo, inputs):
    pixels, conditionals = inputs
    eager = _engine(demo)
    compiled = _engine(demo, compile=True)
    prompts = compiled.embed(conditionals)
    torch._dynamo.utils.counters.clear()
    first = _collect(compiled.segment(pixels, prompts, np.zeros(7)))  # 5 images by 2, 14 and 7 rows by 4
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs == 2  # encoder and decoder
    assert _iou(first, _collect(eager.segment(pixels, eager.embed(conditionals), np.zeros(7)))) > 0.999
    again = _collect(compiled.segment(pixels[:3], compiled.embed(conditionals[:1]), np.zeros(1)))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
    assert all(np.unpackbits(again[pair][0] ^ first[pair][0]).sum() <= 2 for pair in again)
    _assert_exact(compiled.decode(compiled.encode(pixels), prompts), _reference(demo, pixels, conditionals))


def test_short_memory_halves_the_chunk_then_the_batch_once_per_size(demo, inputs, monkeypatch, caplog):
    pixels, conditionals = inputs
    engine = _engine(demo, batch=4, decode_chunk=8)
    prompts = engine.embed(conditionals)
    expected = _collect(engine.segment(pixels, prompts, np.zeros(7)))
    original = Program.__call__

    def starved(self, *arrays):
        rows = len(arrays[0]) if len(arrays) == 1 else len(arrays[1])
        if rows > 2:
            raise torch.OutOfMemoryError("pretended")
        return original(self, *arrays)

    monkeypatch.setattr(Program, "__call__", starved)
    with caplog.at_level(logging.WARNING):
        rows = _collect(engine.segment(pixels, prompts, np.zeros(7)))
    assert (engine.batch, engine.decode_chunk) == (2, 2)
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        "encoding 2 images at a time from now on",
        "decoding 4 rows at a time from now on",
        "decoding 2 rows at a time from now on",
    ]
    assert rows.keys() == expected.keys()
    assert all(np.unpackbits(rows[pair][0] ^ expected[pair][0]).sum() <= 2 for pair in rows)


def test_pixels_of_another_size_or_type_are_refused(demo, inputs):
    engine = _engine(demo)
    prompts = engine.embed(inputs[1])
    for wrong in (np.zeros((1, 64, 64, 3), np.uint8), np.zeros((1, 96, 96, 3), np.float32)):
        with pytest.raises(ValueError, match="uint8"):
            list(engine.segment(wrong, prompts, np.zeros(7)))


_MEMORY = """
import resource, sys
import numpy as np, torch
from clipseg_ray.model.checkpoint import load
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
torch.set_num_threads(1)
checkpoint = load(sys.argv[1])
engine = Engine(make_model(checkpoint, batch=4, decode_chunk=8))
prompts = engine.embed(np.random.default_rng(0).standard_normal((int(sys.argv[2]), 64)).astype(np.float32))
pixels = np.zeros((1, 352, 352, 3), np.uint8)
rows = sum(len(block.bits_pn) for block in engine.segment(pixels, prompts, np.zeros(len(prompts))))
assert rows == len(prompts)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_queries(tmp_path):
    write_checkpoint(tmp_path)
    peaks = [peak_kib(_MEMORY, tmp_path, queries) for queries in (1, 400)]
    # The logits of 400 queries would be 200 MB.
    assert peaks[1] <= peaks[0] + 100_000


def test_weights_are_copied(demo_directory, inputs):
    pixels, conditionals = inputs
    checkpoint = load(str(demo_directory))
    engine = _engine(checkpoint)
    before = engine.decode(engine.encode(pixels), engine.embed(conditionals))
    for tensor in checkpoint.weights.tensors.values():
        tensor.zero_()
    torch.testing.assert_close(engine.decode(engine.encode(pixels), engine.embed(conditionals)), before)
