"""What is read of a checkpoint's folder, old or new, is what transformers reads: to the last bit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

from benchmarks.random_checkpoint import write_checkpoint
from clipseg_ray.errors import UserError
from clipseg_ray.model.architecture import ClipsegConfig
from clipseg_ray.model.checkpoint import load
from clipseg_ray.model.embedding import embed_images, embed_texts, token_counts
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from tests import reference
from tests.model.layouts import LAYOUTS, edit, in_pieces, laid_out, with_a_token_of_its_own

TEXTS = [
    "a dog",
    "",
    "  A   photo\tof\nit's 12 ½ CAFÉ cafe\u0301 ",
    "zürich 日本 👩‍🚀",
    "red circle " * 60,
    "<|startoftext|>a cat<|endoftext|> and <|endoftext|>",
    "don't, they've; we'll! I'd",
    "a thingummy on thingummyjig",
]


@pytest.fixture(scope="module", params=LAYOUTS)
def found(request, demo_directory, tmp_path_factory):
    """A checkpoint in one of the layouts, and transformers' model and tokenizer of it."""
    loaded = load(str(laid_out(request.param, demo_directory, tmp_path_factory.mktemp("layout") / "checkpoint")))
    return loaded, reference.model_of(loaded), reference.tokenizer_of(loaded)


def test_every_tensor_is_that_of_from_pretrained(found):
    loaded, model, _ = found
    theirs = model.state_dict()
    assert loaded.weights.tensors.keys() == theirs.keys() == loaded.config.shapes().keys()
    assert all(torch.equal(loaded.weights[name], tensor) for name, tensor in theirs.items())
    assert {tensor.dtype for tensor in loaded.weights.tensors.values()} == {torch.float32}


def test_texts_are_cut_into_the_same_tokens(found):
    loaded, _, tokenizer = found
    assert loaded.tokenizer.ids(TEXTS) == tokenizer(TEXTS)["input_ids"]
    assert loaded.tokenizer.ids(TEXTS, 9) == tokenizer(TEXTS, truncation=True, max_length=9)["input_ids"]
    assert loaded.tokenizer.longest == tokenizer.model_max_length == 77
    assert max(token_counts(loaded, TEXTS)) > 77


def test_vectors_of_texts_have_every_bit_of_transformers(found):
    loaded, model, tokenizer = found
    expected = []
    for text in TEXTS:
        ids = torch.tensor(tokenizer([text], truncation=True, max_length=77)["input_ids"])
        with torch.inference_mode():
            expected.append(model.clip.get_text_features(ids).pooler_output[0].numpy())
    np.testing.assert_array_equal(embed_texts(loaded, TEXTS, batch=1), np.stack(expected))


@pytest.mark.parametrize("side", [96, 224, 107])
def test_vectors_of_pictures_have_every_bit_of_transformers(found, side):
    loaded, model, _ = found
    pixels = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(side))
    with torch.inference_mode():
        expected = model.clip.get_image_features(pixels).pooler_output.numpy()
    np.testing.assert_array_equal(embed_images(loaded, pixels), expected)


def test_logits_are_those_of_transformers(found):
    loaded, model, _ = found
    pixels = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), np.uint8)
    conditional = torch.from_numpy(embed_texts(loaded, ["a dog"]))
    mean, std = (torch.tensor(value) for value in (loaded.preprocessing.mean, loaded.preprocessing.std))
    normal = ((torch.from_numpy(pixels) / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = model(pixel_values=normal, conditional_embeddings=conditional).logits.reshape(96, 96)
    engine = Engine(make_model(loaded, batch=1, decode_chunk=1))
    logits_wh = engine.decode(engine.encode(pixels), engine.embed(conditional))[0, 0]
    assert (logits_wh.T - expected).abs().max() <= 2e-5 * max(1.0, expected.std().item())


def test_the_wide_towers_have_every_bit_too(tmp_path):
    """As wide as the released ones: their products and attention run through other code than small ones."""
    text = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8}
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    write_checkpoint(tmp_path, image_size=352, text_config=text, vision_config=vision)
    loaded = load(str(tmp_path))
    model, tokenizer = reference.model_of(loaded), reference.tokenizer_of(loaded)
    same = ["a dog", "a cat", "the sky"]
    pixels = torch.randn(2, 3, 352, 352, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        texts = model.clip.get_text_features(torch.tensor(tokenizer(same)["input_ids"])).pooler_output.numpy()
        pictures = model.clip.get_image_features(pixels).pooler_output.numpy()
    np.testing.assert_array_equal(embed_texts(loaded, same), texts)
    np.testing.assert_array_equal(embed_images(loaded, pixels), pictures)


@pytest.mark.parametrize("act", ["gelu", "relu"])
def test_other_activations_have_every_bit_too(act, tmp_path):
    write_checkpoint(tmp_path, image_size=96, text_config={"hidden_act": act}, vision_config={"hidden_act": act})
    loaded = load(str(tmp_path))
    ids = torch.tensor(loaded.tokenizer.ids(["a dog"]))
    with torch.inference_mode():
        expected = reference.model_of(loaded).clip.get_text_features(ids).pooler_output.numpy()
    np.testing.assert_array_equal(embed_texts(loaded, ["a dog"]), expected)


def test_added_tokens_are_tokens(demo_directory, tmp_path):
    folder = shutil.copytree(demo_directory, tmp_path / "checkpoint")
    with_a_token_of_its_own(folder)
    loaded = load(str(folder))
    theirs = reference.tokenizer_of(loaded)
    assert loaded.tokenizer.ids(TEXTS) == theirs(TEXTS)["input_ids"]
    assert theirs.convert_tokens_to_ids("thingummy") in loaded.tokenizer.ids(["a thingummy"])[0]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"vision_config": {"patch_size": 16}},
        {"vision_config": {"patch_size": 16, "hidden_size": 96}, "vision_config_dict": {"patch_size": 16}},
        {"text_config": {"hidden_size": 96, "eos_token_id": 2}, "text_config_dict": {"num_hidden_layers": 3}},
        {"text_config": None, "text_config_dict": None, "vision_config_dict": {}},
        {"extract_layers": [3, 7, 9], "reduce_dim": 16, "use_complex_transposed_convolution": True},
    ],
)
def test_a_configuration_says_what_it_says_to_transformers(changes):
    ours = ClipsegConfig.from_json(changes)
    theirs = CLIPSegConfig(**json.loads(json.dumps(changes)))
    for name, value in vars(ours).items():
        if name.endswith("_config"):
            assert {key: getattr(getattr(theirs, name), key) for key in vars(value)} == vars(value)
        else:
            said = getattr(theirs, name)
            assert (tuple(said) if isinstance(value, tuple) else said) == value
    with torch.device("meta"):
        tensors = CLIPSegForImageSegmentation(theirs).state_dict()
    assert ours.shapes() == {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.fixture
def copy(demo_directory, tmp_path):
    return shutil.copytree(demo_directory, tmp_path / "copy")


def test_what_is_not_clips_is_refused_by_key(copy):
    edit(copy / "tokenizer_config.json", tokenizer_class="LlamaTokenizer")
    with pytest.raises(UserError, match=r"tokenizer_config\.json: tokenizer_class is 'LlamaTokenizer'"):
        load(str(copy))
    config = json.loads((copy / "config.json").read_text())
    edit(copy / "config.json", text_config={**config["text_config"], "hidden_act": "tanh"})
    with pytest.raises(UserError, match=r"text_config\.hidden_act is 'tanh'; it must be one of quick_gelu, gelu, relu"):
        load(str(copy))


def test_a_tensor_of_another_shape_is_named(copy):
    edit(copy / "config.json", projection_dim=48)
    with pytest.raises(
        UserError, match=r"clip\.visual_projection\.weight is \[64, 64\] and by its config\.json \[48, 64\]"
    ):
        load(str(copy))


class Code:
    """What a pickle may hold: a call, made as it is loaded."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return Path.touch, (self.place,)


def test_a_bin_brings_tensors_and_no_code(copy, tmp_path):
    (copy / "model.safetensors").unlink()
    torch.save({"clip.logit_scale": Code(tmp_path / "ran")}, copy / "pytorch_model.bin")
    with pytest.raises(UserError, match="it asks for getattr, and to load that may run any code"):
        load(str(copy))
    assert not (tmp_path / "ran").exists()


def test_a_piece_that_is_missing_or_elsewhere_is_named(copy):
    in_pieces(copy)
    index = copy / "model.safetensors.index.json"
    pieces = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    (copy / pieces[-1]).unlink()
    with pytest.raises(UserError, match=pieces[-1]):
        load(str(copy))
    edit(index, weight_map={"decoder.film_mul.weight": "../demo/model.safetensors"})
    with pytest.raises(UserError, match="must be a file beside it"):
        load(str(copy))
