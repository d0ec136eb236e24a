"""The authors' files become a checkpoint: their logits, in transformers and here; what does not fit is named."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, CLIPSegForImageSegmentation, CLIPSegProcessor

from clipseg_ray.errors import UserError
from clipseg_ray.model.checkpoint import load
from clipseg_ray.model.embedding import embed_images, embed_texts, normalise
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.training.conversion import convert
from clipseg_ray.training.torchscript import read_torchscript
from tests.training import authors


@pytest.mark.parametrize("refined", [False, True], ids=["plain", "refined"])
@pytest.mark.parametrize("taps", [(3, 6, 9), (3, 7, 9)])
@pytest.mark.parametrize("form", ["archive", "folder"])
def test_logits_are_the_authors(clip, clip_folder, taps, refined, form, tmp_path):
    torch.manual_seed(len(taps) + refined)
    decoder = authors.AuthorsDecoder(taps, refined).eval()
    (tmp_path / "rd16.pth").write_bytes(decoder.file())
    over = clip[1] if form == "archive" else clip_folder
    said = convert(str(tmp_path / "rd16.pth"), str(tmp_path / "made"), str(over), taps)
    assert said.startswith(f"{tmp_path}/made: width 16, {'refined' if refined else 'plain'} head, after blocks 3, ")

    loaded = load(str(tmp_path / "made"))
    assert loaded.preprocessing.size == 352
    pixels = np.random.default_rng(1).integers(0, 256, (2, 352, 352, 3), np.uint8)
    pixels = pixels // 4 + np.linspace(0, 190, 352, dtype=np.uint8)[:, None]
    normal = normalise(torch.from_numpy(pixels), loaded.preprocessing)
    with torch.inference_mode():
        ids = torch.tensor(loaded.tokenizer.ids(["a cat"]))
        _, outputs = clip[0].visual(normal)
        text = clip[0].encode_text(ids)
        picture, _ = clip[0].visual(normal[:1])
        expected = torch.stack([decoder(outputs, vector.expand(2, -1)) for vector in (text, picture)], dim=1)
        np.testing.assert_allclose(embed_texts(loaded, ["a cat"]), text, atol=1e-5)
        np.testing.assert_allclose(embed_images(loaded, normal[:1]), picture, atol=1e-5)

        stock = CLIPSegForImageSegmentation.from_pretrained(tmp_path / "made").eval()
        theirs = stock(pixel_values=normal, conditional_embeddings=text.expand(2, -1)).logits
        assert stock.config.extract_layers == list(taps)
    engine = Engine(make_model(loaded, batch=1, decode_chunk=2))
    prompts = engine.embed(torch.cat([text, picture]))
    ours = engine.decode(engine.encode(pixels), prompts).transpose(2, 3)
    assert expected.std() > 0.1
    torch.testing.assert_close(theirs, expected[:, 0], rtol=0, atol=2e-5)
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-5)


def test_the_taps_that_are_asked_for_decide(clip, tmp_path):
    """Why nothing stands in for them: other taps load as well, and are another model."""
    decoder = authors.AuthorsDecoder((3, 7, 9), refined=True)
    (tmp_path / "w.pth").write_bytes(decoder.file())
    weights = str(tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"does not say which 3 blocks .* 3,6,9 .* 3,7,9"):
        convert(weights, str(tmp_path / "made"), str(clip[1]), None)
    for layers in ([3, 6, 9], [3, 7, 9]):
        convert(weights, str(tmp_path / f"made-{layers[1]}"), str(clip[1]), layers)
    one, other = (load(str(tmp_path / f"made-{tap}")) for tap in (6, 7))
    assert one.weights_sha256 == other.weights_sha256
    pixels, conditional = np.zeros((1, 352, 352, 3), np.uint8), torch.randn(1, authors.JOINT)
    engines = [Engine(make_model(each, batch=1, decode_chunk=1)) for each in (one, other)]
    maps = [engine.decode(engine.encode(pixels), engine.embed(conditional)) for engine in engines]
    assert (maps[0] - maps[1]).abs().max() > 0.1
    for layers in ([3, 9], [9, 7, 3], [3, 3, 9], [0, 3, 9], [3, 7, 10], [-1, 3, 9]):
        with pytest.raises(UserError, match=f"--extract-layers {','.join(map(str, layers))}: "):
            convert(weights, str(tmp_path / "made"), str(clip[1]), layers)
    assert not (tmp_path / "made").exists()


def test_the_result_is_that_of_the_same_tensors(clip, tmp_path):
    """transformers' own model, given the tensors by name, saves what the conversion did."""
    (tmp_path / "w.pth").write_bytes(authors.AuthorsDecoder((3, 6, 9), refined=True).file())
    convert(str(tmp_path / "w.pth"), str(tmp_path / "made"), str(clip[1]), [3, 6, 9])
    made = load(str(tmp_path / "made"))
    stock = CLIPSegForImageSegmentation.from_pretrained(tmp_path / "made")
    again = CLIPSegForImageSegmentation(stock.config)
    again.load_state_dict(dict(made.weights.tensors))
    again.save_pretrained(tmp_path / "again")
    CLIPSegProcessor.from_pretrained(tmp_path / "made").save_pretrained(tmp_path / "again")
    assert load(str(tmp_path / "again")).weights_sha256 == made.weights_sha256
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "made")
    texts = ["a cat", "Dog, DOGS & cåts"]
    assert made.tokenizer.ids(texts) == tokenizer(texts)["input_ids"]
    assert made.tokenizer.ids(["a dog"])[0] == [516, 256 + ord("a") - ord("!"), 515, 517]


def test_halves_are_read_as_they_are(clip, tmp_path):
    model = authors.OpenAiClip()
    archive = model.archive(tmp_path, half=True)
    found = read_torchscript(archive.read_bytes(), "ViT-B-16.pt")
    assert found.keys() == model.state_dict().keys()
    assert found["visual.proj"].dtype == torch.float16
    for name, tensor in model.state_dict().items():
        assert torch.equal(found[name].float(), tensor.half().float() if tensor.is_floating_point() else tensor.float())


def test_a_saved_state_does_as_well(clip, tmp_path):
    torch.save(clip[0].state_dict(), tmp_path / "clip.pt")
    (tmp_path / "bpe_simple_vocab_16e6.txt.gz").write_bytes(
        (clip[1].parent / "bpe_simple_vocab_16e6.txt.gz").read_bytes()
    )
    (tmp_path / "w.pth").write_bytes(authors.AuthorsDecoder((3,), refined=False).file())
    for name in ("clip.pt", str(clip[1])):
        convert(str(tmp_path / "w.pth"), str(tmp_path / f"from-{Path(name).stem}"), str(tmp_path / name), [3])
    one, other = (load(str(tmp_path / f"from-{name}")) for name in ("clip", "ViT-B-16"))
    assert one.weights_sha256 == other.weights_sha256


class _Runs:
    def __reduce__(self):
        return (os.mkdir, ("ran",))


def _archive_of(value: object) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps(value, 2))
    return sink.getvalue()


def test_nothing_in_a_file_is_run(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("w.pth").write_bytes(authors.AuthorsDecoder((3,), refined=False).file())
    Path("evil.pth").write_bytes(pickle.dumps({"film_mul.weight": _Runs()}, 2))
    Path("evil.pt").write_bytes(_archive_of({"visual.proj": _Runs()}))
    with pytest.raises(UserError, match=r"evil.pth: .* without running code"):
        convert("evil.pth", "made", str(clip[1]), [3])
    with pytest.raises(UserError, match=r"evil.pt: no TorchScript archive of plain tensors .*mkdir"):
        convert("w.pth", "made", "evil.pt", [3])
    assert not Path("ran").exists()
    assert not Path("made").exists()


def test_what_is_wrong_is_named(clip, clip_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    decoder = authors.AuthorsDecoder((3, 6), refined=False)
    state = decoder.state_dict()
    files = {
        "text.pth": b"no weights",
        "list.pth": _saved([torch.zeros(1)]),
        "nested.pth": _saved({"state_dict": state}),
        "whole.pth": decoder.file(**{"clip_model.logit_scale": torch.zeros(())}),
        "extra.pth": decoder.file(**{"extra_blocks.0.norm1.bias": torch.zeros(16)}),
        "empty.pth": _saved({}),
        "nan.pth": decoder.file(**{"film_add.bias": torch.full((16,), torch.nan)}),
        "short.pth": _saved({name: value for name, value in state.items() if name != "blocks.1.norm2.bias"}),
        "other.pth": decoder.file(**{"film_mul.weight": torch.zeros(16, 30)}),
        "w.pth": decoder.file(),
    }
    for name, data in files.items():
        Path(name).write_bytes(data)
    for name, message in {
        "nowhere.pth": "nowhere.pth: not found",
        "text.pth": "text.pth: no weights that can be read",
        "list.pth": "something else than tensors by name",
        "nested.pth": "something else than tensors by name",
        "whole.pth": "holds clip_model.logit_scale, which",
        "extra.pth": "holds extra_blocks.0.norm1.bias, which",
        "empty.pth": "lacks the decoder's film_mul.weight",
        "nan.pth": "film_add.bias has numbers that are not finite",
        "short.pth": "lacks decoder.layers.1.layer_norm2.bias",
        "other.pth": r"decoder.film_mul.weight is \[16, 30\] and has to be \[16, 24\]",
    }.items():
        with pytest.raises(UserError, match=message):
            convert(name, "made", str(clip[1]), [3, 6])
    for over, message in {
        "nowhere.pt": "nowhere.pt: not found",
        "./nowhere": "--clip: ./nowhere: no such directory",
        "w.pth": "no CLIP with a vision transformer",
        "text.pth": "no TorchScript archive",
    }.items():
        with pytest.raises(UserError, match=message):
            convert("w.pth", "made", over, [3, 6])
    Path("alone").mkdir()
    Path("alone/ViT-B-16.pt").write_bytes(clip[1].read_bytes())
    with pytest.raises(UserError, match=r"alone/ViT-B-16.pt holds no tokenizer; .*openai/clip-vit-base-patch16"):
        convert("w.pth", "made", "alone/ViT-B-16.pt", [3, 6])
    assert not Path("made").exists()
    convert("w.pth", "made", str(clip_folder), [3, 6])
    with pytest.raises(UserError, match="made: there are files in it"):
        convert("w.pth", "made", str(clip_folder), [3, 6])
    with pytest.raises(UserError, match="--clip: made holds a 'clipseg' model"):
        convert("w.pth", "other", "made", [3, 6])


def _saved(value: object) -> bytes:
    sink = io.BytesIO()
    torch.save(value, sink)
    return sink.getvalue()
