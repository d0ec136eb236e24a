"""The layouts that folders of CLIPSeg checkpoints have had, made of one that transformers has just saved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

NORMALISATION = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None removes one."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def saved_by_transformers(folder: Path) -> None:
    """Model and processor saved anew by the transformers at hand: one ``processor_config.json``, no preprocessor's."""
    model = CLIPSegForImageSegmentation.from_pretrained(folder)
    processor = CLIPSegProcessor.from_pretrained(folder)
    for path in folder.iterdir():
        path.unlink()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def as_released(folder: Path) -> None:
    """As folders of 2022: old keys of towers, the wrong end token, a feature extractor, vocabulary files, a .bin."""
    config = json.loads((folder / "config.json").read_text())
    vision, text = config["vision_config"], config["text_config"]
    # What stands in the tower's own section is not what counts where there is an old one.
    edit(
        folder / "config.json",
        vision_config={**vision, "num_attention_heads": 1, "hidden_act": "gelu"},
        vision_config_dict=vision,
        text_config={**text, "eos_token_id": 2},
        text_config_dict=None,
        architectures=["CLIPSegForImageSegmentation"],
        transformers_version=None,
    )
    side = json.loads((folder / "preprocessor_config.json").read_text())["size"]["height"]
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {"feature_extractor_type": "ViTFeatureExtractor", "do_resize": True, "size": side, "resample": 2}
            | {"do_normalize": True}
            | NORMALISATION
        )
    )
    Tokenizer.from_file(str(folder / "tokenizer.json")).model.save(str(folder))
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {name: {"__type": "AddedToken", **_fixed_token(content)} for name, content in _ENDS.items()}
            | {"add_prefix_space": False, "do_lower_case": True, "errors": "replace", "pad_token": "<|endoftext|>"}
            | {"model_max_length": 77, "processor_class": "CLIPSegProcessor", "tokenizer_class": "CLIPTokenizer"}
        )
    )
    named = {name: _fixed_token(content) for name, content in _ENDS.items()}
    (folder / "special_tokens_map.json").write_text(json.dumps(named | {"pad_token": "<|endoftext|>"}))
    as_bin(folder)


def as_of_2024(folder: Path) -> None:
    """``tokenizer.json`` with merges in one string each, and added tokens by id in ``tokenizer_config.json``."""
    whole = json.loads((folder / "tokenizer.json").read_text())
    whole["model"]["merges"] = [" ".join(pair) for pair in whole["model"]["merges"]]
    for token in whole["added_tokens"]:
        token["normalized"] = token["content"] == "<|startoftext|>"
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    added = {str(token["id"]): {key: token[key] for key in token if key != "id"} for token in whole["added_tokens"]}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {"added_tokens_decoder": added, "clean_up_tokenization_spaces": True, "model_max_length": 77}
            | {"tokenizer_class": "CLIPTokenizer", "pad_token": "<|endoftext|>"}
            | _ENDS
        )
    )


def as_bin(folder: Path) -> None:
    """``pytorch_model.bin`` alone, with the buffers that old files have besides."""
    tensors = load_file(folder / "model.safetensors")
    positions = torch.arange(77)[None]
    torch.save(tensors | {"clip.text_model.embeddings.position_ids": positions}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def in_pieces(folder: Path) -> None:
    """Safetensors in several files and their index, as ``save_pretrained`` writes a large model."""
    model = CLIPSegForImageSegmentation.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="200KB")
    assert (folder / "model.safetensors.index.json").exists()


def bin_in_pieces(folder: Path) -> None:
    """``.bin`` in two files and their index."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    index = {}
    for number, chosen in enumerate((names[::2], names[1::2]), 1):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: tensors[name] for name in chosen}, folder / file)
        index |= dict.fromkeys(chosen, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "model.safetensors").unlink()


def in_half_precision(folder: Path) -> None:
    """float16 tensors, which are computed with in float32."""
    CLIPSegForImageSegmentation.from_pretrained(folder, dtype=torch.float16).save_pretrained(folder)


def with_a_token_of_its_own(folder: Path) -> None:
    """A tokenizer that was given one more token than the vocabulary has."""
    processor: Any = CLIPSegProcessor.from_pretrained(folder)
    processor.tokenizer.add_tokens(["thingummy"])
    processor.tokenizer.save_pretrained(folder)


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "as ours": lambda folder: None,
    "saved by transformers": saved_by_transformers,
    "as released": as_released,
    "as of 2024": as_of_2024,
    "one .bin": as_bin,
    "in pieces": in_pieces,
    "a .bin in pieces": bin_in_pieces,
    "float16": in_half_precision,
}


def laid_out(name: str, source: Path, target: Path) -> Path:
    """A copy of a checkpoint in one of ``LAYOUTS``."""
    shutil.copytree(source, target)
    LAYOUTS[name](target)
    return target


_ENDS = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}


def _fixed_token(content: str) -> dict[str, Any]:
    return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
