"""Checkpoints from directories and URLs; what is wrong with one is said in a line."""

import json
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest
import torch
from transformers import CLIPSegProcessor

from clipseg_ray.errors import UserError
from clipseg_ray.model import folder as folder_module
from clipseg_ray.model import hub
from clipseg_ray.model.checkpoint import load, resolve_revision
from tests import reference


@pytest.fixture
def copy(demo_directory, tmp_path):
    return shutil.copytree(demo_directory, tmp_path / "copy")


def test_a_directory_loads_with_its_own_preprocessing(demo):
    assert (demo.preprocessing.size, demo.revision) == (96, None)
    assert {tensor.dtype for tensor in demo.weights.tensors.values()} == {torch.float32}
    assert demo.tokenizer.ids(["a dog"])[0]


def test_the_digest_is_of_the_weights_alone(demo, demo_directory, copy):
    (copy / "preprocessor_config.json").write_text((copy / "preprocessor_config.json").read_text().replace("96", "128"))
    again = load(str(copy))
    assert again.preprocessing.size == 128
    assert again.weights_sha256 == demo.weights_sha256
    model = reference.model_of(again)
    with torch.no_grad():
        model.decoder.film_mul.bias[0] += 1e-6
    model.save_pretrained(copy)
    assert load(str(copy)).weights_sha256 != demo.weights_sha256


def test_what_transformers_saves_can_be_loaded(demo, demo_directory, tmp_path):
    reference.model_of(demo).save_pretrained(tmp_path)
    CLIPSegProcessor.from_pretrained(demo_directory).save_pretrained(tmp_path)
    again = load(str(tmp_path))
    assert again.preprocessing == demo.preprocessing
    assert again.weights_sha256 == demo.weights_sha256


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(UserError, match=f"copy lacks {name}"):
        load(str(copy))


def _edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_another_architecture_is_refused(copy):
    _edit(copy / "config.json", model_type="bert")
    with pytest.raises(UserError, match="'bert' model, not CLIPSeg"):
        load(str(copy))


def test_a_conditional_layer_the_decoder_lacks_is_refused(copy):
    _edit(copy / "config.json", conditional_layer=3)
    with pytest.raises(UserError, match="conditional_layer 3"):
        load(str(copy))


def test_weights_that_do_not_fit_or_are_cut_are_refused(copy):
    _edit(copy / "config.json", use_complex_transposed_convolution=False)
    with pytest.raises(UserError, match="transposed_convolution"):
        load(str(copy))
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[:1000])
    with pytest.raises(UserError, match="cannot be loaded"):
        load(str(copy))


class Calls:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: torch.save({"a": Calls()}, path), r"it asks for \w+\.system, and to load that may run any code"),
        (lambda path: path.write_bytes(pickle.dumps({"a": Calls()})), "no file of tensors alone"),
        (lambda path: path.write_bytes(b"<html>404</html>"), "no file of tensors alone"),
        (lambda path: path.write_bytes(b""), "no file of tensors alone"),
        (lambda path: torch.save([1, 2], path), "it holds a list, not tensors by name"),
    ],
)
def test_a_pickle_that_is_more_than_tensors_is_refused_without_advice_to_load_it(copy, write, words):
    (copy / "model.safetensors").unlink()
    write(copy / "pytorch_model.bin")
    with pytest.raises(UserError, match=words) as caught:
        load(str(copy))
    assert str(caught.value).startswith(f"{copy}/pytorch_model.bin: ")
    assert "weights_only" not in str(caught.value)
    assert "trusted" not in str(caught.value)


def test_a_path_that_is_none_is_not_looked_up_on_the_hub(tmp_path):
    for wrong in (str(tmp_path / "nowhere"), "./nowhere", "a/b/c"):
        with pytest.raises(UserError, match="no such directory"):
            load(wrong)
        with pytest.raises(UserError, match="no such directory"):
            resolve_revision(wrong, None)


def test_a_directory_wins_over_a_hub_name(copy, monkeypatch, tmp_path):
    shutil.move(copy, tmp_path / "CIDAS" / "clipseg-rd64-refined")
    monkeypatch.chdir(tmp_path)
    assert load("CIDAS/clipseg-rd64-refined").preprocessing.size == 96
    assert resolve_revision("CIDAS/clipseg-rd64-refined", None) is None


@pytest.fixture
def bucket(demo_directory, monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPSEG_RAY_CACHE", str(tmp_path / "cache"))
    files = fsspec.filesystem("memory")
    for path in demo_directory.iterdir():
        files.pipe_file(f"/weights/demo/{path.name}", path.read_bytes())
    files.pipe_file("/weights/demo/steps/0001/model.safetensors", b"not wanted")
    yield files
    files.rm("/weights", recursive=True)


def test_a_url_is_fetched_once_by_workers_that_start_together(bucket, demo, monkeypatch, tmp_path):
    opened = []
    original = folder_module.Store.open
    monkeypatch.setattr(
        folder_module.Store,
        "open",
        lambda self, path, etag=None: opened.append(path) or original(self, path, etag),
    )
    with ThreadPoolExecutor(4) as threads:
        copies = list(threads.map(folder_module._fetch, ["memory://weights/demo"] * 4))
    assert len(set(copies)) == 1
    assert sorted(opened) == sorted(path.name for path in copies[0].iterdir())
    assert load("memory://weights/demo").weights_sha256 == demo.weights_sha256
    assert sorted(path.name for path in (tmp_path / "cache" / "checkpoints").iterdir()) == [
        copies[0].name,
        f"{copies[0].name}.lock",
    ]


def test_a_changed_url_is_fetched_anew(bucket, demo):
    load("memory://weights/demo")
    text = bucket.cat_file("/weights/demo/preprocessor_config.json").replace(b"96", b"1000")
    bucket.pipe_file("/weights/demo/preprocessor_config.json", text)
    assert load("memory://weights/demo").preprocessing.size == 1000


def test_an_empty_url_says_so(bucket):
    with pytest.raises(UserError, match="no files there"):
        load("memory://weights/elsewhere")


def test_a_broken_transfer_leaves_nothing_behind(bucket, monkeypatch, tmp_path):
    def broken(self, path, etag=None):
        raise OSError("connection reset")

    with monkeypatch.context() as patched:
        patched.setattr(folder_module.Store, "open", broken)
        with pytest.raises(UserError, match="memory://weights/demo"):
            load("memory://weights/demo")
    assert all(path.suffix == ".lock" for path in (tmp_path / "cache" / "checkpoints").iterdir())
    assert load("memory://weights/demo")


def test_revisions(monkeypatch, demo_directory):
    commit = "0" * 40
    assert resolve_revision("CIDAS/clipseg-rd64-refined", commit) == commit
    assert resolve_revision(str(demo_directory), None) is None
    assert resolve_revision("s3://bucket/weights", None) is None
    with pytest.raises(UserError, match="no hub name"):
        resolve_revision(str(demo_directory), "main")

    class Hub:
        def model_info(self, name, revision, timeout):
            if revision == "gone":
                raise ConnectionError("no route\nto host")
            return type("Info", (), {"sha": f"{name}@{revision}"})

    monkeypatch.setattr(hub.huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    assert resolve_revision("CIDAS/clipseg-rd64", "v1") == "CIDAS/clipseg-rd64@v1"
    with pytest.raises(UserError, match="the hub did not answer") as caught:
        resolve_revision("CIDAS/clipseg-rd64", "gone")
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE"):
        resolve_revision("nobody/nothing", None)
