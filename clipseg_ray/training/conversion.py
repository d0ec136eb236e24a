"""CLIPSeg's authors' weights → a checkpoint that transformers and this package load: their decoder over a CLIP."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import CLIPSegForImageSegmentation

from clipseg_ray.addresses import absolute
from clipseg_ray.errors import UserError
from clipseg_ray.model.architecture import ClipsegConfig
from clipseg_ray.storage import Store, get_all, plain_errors
from clipseg_ray.training.authors_decoder import decoder_sizes, read_decoder, taps_of
from clipseg_ray.training.plain_clip import open_clip
from clipseg_ray.training.saving import imagenet_preprocessing, save

IMAGE_SIZE = 352
"""Side in pixels of the authors' inputs."""


def convert(weights: str, destination: str, clip: str, extract_layers: Sequence[int] | None) -> str:
    """Write the checkpoint into a new folder; both at any path or URL. Returns what it is, in a line.

    weights: the authors' ``.pth``. clip: a hub name, a folder of one, or OpenAI's archive with its vocabulary beside
    it. extract_layers: the blocks of CLIP whose outputs the decoder takes, counted from 0, shallowest first; None is
    refused with what is known of them. Logits are the authors' within rounding.
    Raises UserError for files that are something else or do not fit each other, and for a folder that is not empty.
    """
    with plain_errors(weights):
        decoder = read_decoder(get_all([absolute(weights)])[0], weights)
    if extract_layers is None:
        raise UserError(
            f"--extract-layers: {weights} does not say which {taps_of(decoder)} blocks of CLIP it was trained on, and "
            "with others its masks are wrong and nothing shows it; the authors' quick start has 3,6,9 for the weights "
            "they released, the paper and their training configurations 3,7,9"
        )
    store = Store.of(destination)
    with plain_errors(destination):
        if next(iter(store.list()), None) is not None:
            raise UserError(f"{destination}: there are files in it; give a new folder")
    over = open_clip(clip, "--clip")
    config = over.with_decoder(decoder_sizes(decoder) | {"extract_layers": tuple(extract_layers)})
    _check_layers(config, taps_of(decoder), weights, clip)
    tensors = {f"clip.{name}": tensor for name, tensor in over.tensors.items()}
    tensors |= {f"decoder.{name}": tensor for name, tensor in decoder.items()}
    _check_shapes(config, tensors, weights, clip)
    model: Any = CLIPSegForImageSegmentation(over.for_transformers(config))
    model.load_state_dict(tensors)
    with tempfile.TemporaryDirectory() as temporary:
        save(Path(temporary), model, over.tokenizer, imagenet_preprocessing(IMAGE_SIZE))
        with plain_errors(destination):
            for file in sorted(Path(temporary).iterdir()):
                store.put_file(file.name, file)
    head = "refined" if config.use_complex_transposed_convolution else "plain"
    blocks = ", ".join(map(str, config.extract_layers))
    return f"{destination}: width {config.reduce_dim}, {head} head, after blocks {blocks} of {clip}"


def _check_layers(config: ClipsegConfig, taps: int, weights: str, clip: str) -> None:
    layers, depth = config.extract_layers, config.vision_config.num_hidden_layers
    given = f"--extract-layers {','.join(map(str, layers))}"
    if len(layers) != taps:
        raise UserError(f"{given}: {weights} takes {taps} blocks of CLIP; name as many")
    # The authors' code hands on what it has beside block 0: a decoder after that one would be short of a block.
    if list(layers) != sorted(set(layers)) or layers[0] < 1 or layers[-1] >= depth:
        raise UserError(f"{given}: name blocks of 1 to {depth - 1} ({clip}), each once and the shallowest first")


def _check_shapes(config: ClipsegConfig, tensors: dict[str, Tensor], weights: str, clip: str) -> None:
    """Refuse parts that do not fit each other, by the first tensor that shows it."""
    shapes = config.shapes()
    if config.reduce_dim % config.decoder_num_attention_heads:
        raise UserError(
            f"{weights}: width {config.reduce_dim} is no multiple of its {config.decoder_num_attention_heads} heads"
        )
    for name, shape in shapes.items():
        if name not in tensors:
            raise UserError(f"{weights} over {clip} lacks {name}; give whole files")
        if tuple(tensors[name].shape) != shape:
            raise UserError(
                f"{weights} over {clip}: {name} is {list(tensors[name].shape)} and has to be {list(shape)}; the two do "
                "not fit each other (the authors' weights are over ViT-B/16)"
            )
    if strange := sorted(tensors.keys() - shapes.keys()):
        raise UserError(f"{weights} over {clip}: {strange[0]} has no place; give CLIP's ViT-B/16 and one decoder")
