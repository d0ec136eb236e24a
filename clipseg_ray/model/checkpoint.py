"""A CLIPSeg checkpoint, loaded: its configuration, tensors, tokenizer and preprocessing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipseg_ray.errors import UserError, brief
from clipseg_ray.model import hub
from clipseg_ray.model.architecture import ClipsegConfig
from clipseg_ray.model.folder import check, folder_of, is_hub_name, json_object, known_names
from clipseg_ray.model.tokenizer import Tokenizer, read_tokenizer
from clipseg_ray.model.weights import Weights, read_weights
from clipseg_ray.pixels.preprocessing import Preprocessing


@dataclass(kw_only=True)
class Checkpoint:
    """A loaded checkpoint.

    folder: where its files lie on this machine. weights: in fp32, on the CPU. preprocessing: what the checkpoint's
    ``preprocessor_config.json`` states. revision: the hub's commit, null elsewhere. weights_sha256: hex digest over
    the names, dtypes, shapes and bytes of the tensors, in order of name.
    """

    folder: Path
    config: ClipsegConfig
    weights: Weights
    tokenizer: Tokenizer
    preprocessing: Preprocessing
    revision: str | None
    weights_sha256: str


def load(checkpoint: str, revision: str | None = None) -> Checkpoint:
    """Load a hub name ("CIDAS/clipseg-rd64-refined"), a local directory, a URL (``s3://bucket/folder``) or
    ``builtin:<name>``.

    An existing directory wins over a hub name. `revision` is for hub names only: the commit to load.
    Raises UserError when something is missing, unreadable, or not a CLIPSeg segmentation model.
    """
    with _explained(checkpoint):
        folder = folder_of(checkpoint, revision)
        content = json_object(folder / "config.json")
        _check_config(checkpoint, content)
        config = ClipsegConfig.from_json(content)
        weights = read_weights(folder, config.shapes())
        return Checkpoint(
            folder=folder,
            config=config,
            weights=weights,
            tokenizer=read_tokenizer(folder),
            preprocessing=Preprocessing.from_config(_preprocessor_config(checkpoint, folder)),
            revision=revision if is_hub_name(checkpoint) else None,
            weights_sha256=weights.sha256(),
        )


def resolve_revision(checkpoint: str, revision: str | None) -> str | None:
    """The commit a hub name stands for now; null for anything else, which the weights' hash pins.

    The hub is asked, or its local cache (see ``hub.commit_of``). Raises UserError when it does not know, or a revision
    is given for something that is no hub name.
    """
    if is_hub_name(checkpoint):
        return hub.commit_of(checkpoint, revision)
    _refuse_revision(checkpoint, revision)
    return None


def look(checkpoint: str, revision: str | None) -> str | None:
    """Look at a checkpoint without loading or fetching it; a doubt about its name, where there is one.

    Raises UserError where a run could not load it, as far as names and listings tell.
    """
    check(checkpoint)
    if is_hub_name(checkpoint):
        return hub.doubt(checkpoint, known_names())
    _refuse_revision(checkpoint, revision)
    return None


def _refuse_revision(checkpoint: str, revision: str | None) -> None:
    if revision is not None:
        raise UserError(f"model.revision: {checkpoint} is no hub name, so it has no revisions; remove it")


def _check_config(checkpoint: str, config: dict[str, Any]) -> None:
    if config.get("model_type") != "clipseg":
        raise UserError(
            f"model.checkpoint: {checkpoint} holds a {config.get('model_type')!r} model, not CLIPSeg; "
            "try CIDAS/clipseg-rd64-refined"
        )
    depth = len(config.get("extract_layers", (3, 6, 9)))
    if config.get("conditional_layer", 0) not in range(depth):
        raise UserError(
            f"model.checkpoint: {checkpoint}: conditional_layer {config['conditional_layer']} is not one of the "
            f"decoder's {depth} layers, so masks would not depend on the query; correct config.json"
        )


def _preprocessor_config(checkpoint: str, folder: Path) -> dict[str, Any]:
    config = json_object(folder / "preprocessor_config.json")
    if not config:  # newer transformers put the image processor inside the processor's own file
        config = json_object(folder / "processor_config.json").get("image_processor", {})
    if not config:
        raise UserError(f"model.checkpoint: {checkpoint} lacks preprocessor_config.json")
    return config


@contextmanager
def _explained(checkpoint: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # torch, safetensors, tokenizers and the hub each raise their own kinds
        raise UserError(f"model.checkpoint: {checkpoint} cannot be loaded: {brief(error)}") from error
