"""CLIP alone, which a decoder is put over: a folder as transformers writes it, or OpenAI's archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor
from transformers import AutoTokenizer, CLIPSegConfig

from clipseg_ray.addresses import absolute
from clipseg_ray.errors import UserError
from clipseg_ray.model.architecture import ClipsegConfig
from clipseg_ray.model.folder import folder_of, json_object
from clipseg_ray.model.weights import read_weights
from clipseg_ray.storage import Store, plain_errors
from clipseg_ray.training.openai_clip import VOCABULARY, openai_tokenizer, towers_of
from clipseg_ray.training.torchscript import read_torchscript

_ARCHIVES = (".pt", ".pth")


@dataclass(frozen=True)
class PlainClip:
    """config: as in its ``config.json``. tensors: of towers and projections in float32, by transformers' names."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    tokenizer: Any

    def with_decoder(self, decoder: Mapping[str, Any]) -> ClipsegConfig:
        """A CLIPSeg over it; ``decoder``: the decoder's keys of ``config.json``."""
        clip = {key: self.config[key] for key in self.config if key.startswith(("vision_", "text_", "projection_"))}
        return ClipsegConfig.from_json(clip | dict(decoder))

    def for_transformers(self, config: ClipsegConfig) -> CLIPSegConfig:
        """The same for transformers, with the tokens' numbers as CLIP's configuration has them."""
        said = self.config.get("text_config_dict") or self.config.get("text_config") or {}
        numbers = {key: said[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if key in said}
        values = asdict(config)
        values["extract_layers"] = list(config.extract_layers)
        values["text_config"] |= numbers
        return CLIPSegConfig(**values)


def open_clip(clip: str, key: str) -> PlainClip:
    """CLIP from a hub name, a folder or a URL of one, or OpenAI's archive with its vocabulary beside it.

    key: what messages call the place. Raises UserError for what is something else.
    """
    return _archive(clip, key) if clip.endswith(_ARCHIVES) else _folder(clip, key)


def is_plain_clip(checkpoint: str) -> bool:
    """Whether it is CLIP alone, not CLIPSeg. Raises UserError where there is no checkpoint."""
    if checkpoint.endswith(_ARCHIVES):
        return True
    return json_object(folder_of(checkpoint, None) / "config.json").get("model_type") == "clip"


def _folder(clip: str, key: str) -> PlainClip:
    try:
        folder = folder_of(clip, None)
    except UserError as error:
        raise UserError(f"{key}: {str(error).removeprefix('model.checkpoint: ')}") from None
    config = json_object(folder / "config.json")
    if config.get("model_type") != "clip":
        raise UserError(f"{key}: {clip} holds a {config.get('model_type')!r} model; give CLIP's ViT-B/16 alone")
    prefix = "clip."
    shapes = {
        name.removeprefix(prefix): shape
        for name, shape in ClipsegConfig.from_json(config).shapes().items()
        if name.startswith(prefix)
    }
    tensors = dict(read_weights(folder, shapes).tensors)
    return PlainClip(config, tensors, AutoTokenizer.from_pretrained(folder))


def _archive(clip: str, key: str) -> PlainClip:
    """CLIP from OpenAI's archive, whose tokenizer lies in a file of its own."""
    folder, _, name = absolute(clip).rpartition("/")
    beside = Store.of(folder)
    with plain_errors(clip):
        config, tensors = towers_of(read_torchscript(beside.get(name), clip), clip)
        if not beside.exists(VOCABULARY):
            raise UserError(
                f"{key}: {clip} holds no tokenizer; put OpenAI's {VOCABULARY} beside it, or give the folder form "
                "(openai/clip-vit-base-patch16)"
            )
        merges = beside.get(VOCABULARY)
    vocabulary = beside.url_of(VOCABULARY)
    return PlainClip(config, tensors, openai_tokenizer(merges, config["text_config"]["vocab_size"], vocabulary))
