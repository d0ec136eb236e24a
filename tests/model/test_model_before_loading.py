"""What is known of a checkpoint before it is loaded: names that cannot be, files for folders, weights at hand."""

import io
import shutil
from pathlib import Path

import pytest
import torch

from clipseg_ray.errors import UserError
from clipseg_ray.model import hub, identity
from clipseg_ray.model.checkpoint import load, look
from clipseg_ray.storage import Store

AUTHORS = (
    "film_mul.weight",
    "film_add.bias",
    "reduces.0.weight",
    "blocks.0.self_attn.in_proj_weight",
    "trans_conv.weight",
)
WHOLE = ("clip.logit_scale", "decoder.film_mul.weight", "decoder.reduces.0.weight")


def saved(names: tuple[str, ...], *, zipped: bool = True) -> bytes:
    """What torch.save writes of tensors with these names."""
    sink = io.BytesIO()
    tensors = {name: torch.zeros(3) for name in names}
    torch.save(tensors, sink, _use_new_zipfile_serialization=zipped)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (saved(AUTHORS), "is a training file of CLIPSeg's authors: the decoder alone, without CLIP"),
        (saved(AUTHORS, zipped=False), "is a training file of CLIPSeg's authors: the decoder alone, without CLIP"),
        (saved(WHOLE), "is the tensors of a model without its configuration; save it with save_pretrained"),
        (saved(("anything",)), "is a file of weights; a checkpoint is a folder"),
        (b"", "is a file of weights; a checkpoint is a folder"),
        (b"PK\3\4 cut", "is a file of weights; a checkpoint is a folder"),
    ],
)
def test_a_file_in_place_of_a_folder_is_said_to_be_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "rd64-uni.pth"
    file.write_bytes(content)
    for asked in (look, load):
        with pytest.raises(UserError, match=said) as caught:
            asked(str(file), None)
        assert "CIDAS/clipseg-rd64-refined" in str(caught.value) or "save_pretrained" in str(caught.value)


def test_a_folder_of_training_files_is_told_from_one_that_lacks_something(tmp_path: Path) -> None:
    (tmp_path / "rd16-uni.pth").write_bytes(saved(AUTHORS))
    with pytest.raises(UserError, match=r"has rd16-uni\.pth, which is a training file of CLIPSeg's authors"):
        look(str(tmp_path), None)


def test_a_file_of_a_checkpoint_stands_for_its_folder(checkpoint_dir: Path) -> None:
    with pytest.raises(UserError, match="is a file; give its folder") as caught:
        look(f"{checkpoint_dir}/model.safetensors", None)
    assert str(checkpoint_dir) in str(caught.value)


def test_a_file_of_weights_is_no_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no such directory, and not a hub name"):
        look("weights/rd64-uni.pth", None)
    with pytest.raises(UserError, match="a file of weights; a checkpoint is a folder"):
        look("s3://bucket/rd64-uni.pth", None)
    with pytest.raises(UserError, match="a file of weights; a checkpoint is a folder"):
        look("https://example.org/rd64-uni.pth?download=1", None)


def test_what_was_meant_is_named(tmp_path: Path, checkpoint_dir: Path) -> None:
    shutil.copytree(checkpoint_dir, tmp_path / "my-checkpoint")
    with pytest.raises(UserError, match=r"no shipped checkpoint of that name; did you mean builtin:scenes\?"):
        look("builtin:scene", None)
    with pytest.raises(UserError, match=r"did you mean builtin:scenes\?"):
        look("Builtin:scenes", None)
    with pytest.raises(UserError, match=r"no such directory \(did you mean .*/my-checkpoint\?\)"):
        look(f"{tmp_path}/my-chekpoint", None)
    with pytest.raises(UserError, match=r"model\.revision: .* is no hub name"):
        look(f"{tmp_path}/my-checkpoint", "main")
    assert look(f"{tmp_path}/my-checkpoint", None) is None


@pytest.mark.parametrize("name", ["a--b/c", "a..b", "a/b-", "x" * 100, "a/b.git"])
def test_what_the_hub_refuses_as_a_name_is_none(name: str) -> None:
    with pytest.raises(UserError, match="no such directory, and not a hub name"):
        look(name, None)


def test_a_folder_at_a_url_is_listed_and_not_fetched(
    tmp_path: Path, checkpoint_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSEG_RAY_CACHE", str(tmp_path))
    store = Store.of("memory://looked-at/model")
    for path in checkpoint_dir.iterdir():
        store.put(path.name, path.read_bytes())
    monkeypatch.setattr(Store, "open", None)
    assert look(store.url, None) is None
    assert "a run compares the weights" in str(identity.compare(store.url, None, {"checkpoint": "x"}, "out"))
    store.delete("config.json")
    with pytest.raises(UserError, match=r"lacks config\.json"):
        look(store.url, None)
    with pytest.raises(UserError, match="no files there"):
        look("memory://looked-at/nowhere", None)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CIDAS/clipseg-rd64-refind", "CIDAS/clipseg-rd64-refined"),
        ("cidas/clipseg-rd16", "CIDAS/clipseg-rd16"),
        ("CIDSA/clipseg-rd64", "CIDAS/clipseg-rd64"),
        ("clipseg-rd64-refined", "CIDAS/clipseg-rd64-refined"),
        ("scenes", "builtin:scenes"),
        ("CIDAS/clipseg-rd64-refined", None),
        ("somebody/clipseg-rd64-refined", None),
        ("nvidia/segformer", None),
    ],
)
def test_a_hub_name_that_looks_misspelt_is_doubted(name: str, meant: str | None) -> None:
    doubt = look(name, None)
    assert (doubt is None) == (meant is None)
    assert meant is None or f"did you mean {meant}?" in str(doubt)


def test_weights_in_the_hubs_cache_are_at_hand(
    tmp_path: Path, checkpoint_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "cached", lambda name, revision: checkpoint_dir if name == "a/model" else None)
    loaded = load(str(checkpoint_dir))
    made = {
        "checkpoint": "x",
        "weights_sha256": loaded.weights_sha256,
        "preprocessing": loaded.preprocessing.to_json(),
    }
    assert identity.compare("a/model", None, made, "out") is None
    assert "made with x; a run compares" in str(identity.compare("b/model", None, made, "out"))
    with pytest.raises(
        UserError, match=r"a/model is not the model that out was made with \(x\);[^:]*model\.weights_sha256: the"
    ):
        identity.compare("a/model", None, {**made, "weights_sha256": "0" * 64}, "out")
    with pytest.raises(UserError, match=r"model\.preprocessing: the dataset has {}, this run .*'size': 96"):
        identity.compare("a/model", None, {**made, "preprocessing": {}}, "out")
    monkeypatch.setattr(hub, "cached", lambda name, revision: tmp_path)
    assert "a run compares" in str(identity.compare("a/model", None, made, "out"))


def test_a_copy_of_a_url_in_the_nodes_cache_is_at_hand(
    tmp_path: Path, checkpoint_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSEG_RAY_CACHE", str(tmp_path))
    store = Store.of("memory://copied/model")
    for path in checkpoint_dir.iterdir():
        store.put(path.name, path.read_bytes())
    loaded = load(store.url)
    made = {
        "checkpoint": "x",
        "weights_sha256": loaded.weights_sha256,
        "preprocessing": loaded.preprocessing.to_json(),
    }
    with pytest.raises(UserError, match="is not the model that out was made with"):
        identity.compare(store.url, None, {**made, "weights_sha256": "0" * 64}, "out")
    assert identity.compare(store.url, None, made, "out") is None
