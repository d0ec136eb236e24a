"""A CLIPSeg checkpoint, wherever it lies: hub name, local directory, any URL storage can read, or inside the package.

A URL is copied once per node into ``$CLIPSEG_RAY_CACHE`` (default ``~/.cache/clipseg-ray``) under a name made of
the URL and its listing, so replaced weights are fetched anew and workers that start together fetch once.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from huggingface_hub import HfApi, constants, try_to_load_from_cache
from transformers import AutoTokenizer, CLIPSegForImageSegmentation, PreTrainedTokenizerBase
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from clipseg_ray.errors import UserError, brief, meant
from clipseg_ray.pixels.preprocessing import Preprocessing
from clipseg_ray.storage import Store, plain_errors

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHIPPED = Path(__file__).parent / "shipped"
"""The folder of the checkpoints that ``builtin:<name>`` names."""


@dataclass(kw_only=True)
class Checkpoint:
    """A loaded checkpoint.

    model: transformers' own, fp32, eval, on the CPU. tokenizer: its CLIP tokenizer. preprocessing: what the
    checkpoint's ``preprocessor_config.json`` states. revision: the hub's commit, null elsewhere.
    weights_sha256: hex digest over the names, dtypes, shapes and bytes of the state dict, in order of name.
    """

    model: CLIPSegForImageSegmentation
    tokenizer: PreTrainedTokenizerBase
    preprocessing: Preprocessing
    revision: str | None
    weights_sha256: str


def load(checkpoint: str, revision: str | None = None) -> Checkpoint:
    """Load a hub name ("CIDAS/clipseg-rd64-refined"), a local directory, a URL (``s3://bucket/folder``) or
    ``builtin:<name>``.

    An existing directory wins over a hub name. `revision` is for hub names only: the commit to load.
    Raises UserError when something is missing, unreadable, or not a CLIPSeg segmentation model.
    """
    directory = _directory(checkpoint)
    if directory is not None:
        _check_files(checkpoint, directory)
        revision = None
    source = str(directory or checkpoint)
    with quiet(), _explained(checkpoint):
        _check_config(checkpoint, _read_json(source, "config.json", revision))
        preprocessing = Preprocessing.from_config(_preprocessor_config(checkpoint, source, revision))
        tokenizer: Any = AutoTokenizer.from_pretrained(source, revision=revision or "main")
        loaded: Any = CLIPSegForImageSegmentation.from_pretrained(
            source, revision=revision or "main", dtype=torch.float32, output_loading_info=True
        )
    model, report = loaded
    if report["missing_keys"] or report["mismatched_keys"]:
        names = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
        raise UserError(
            f"{checkpoint}: the weights lack {len(names)} tensors of its config.json (first: {names[0]}); "
            "save weights and configuration together with save_pretrained"
        )
    return Checkpoint(
        model=model.eval(),
        tokenizer=tokenizer,
        preprocessing=preprocessing,
        revision=revision,
        weights_sha256=_digest(model),
    )


def resolve_revision(checkpoint: str, revision: str | None) -> str | None:
    """The commit a hub name stands for now; null for anything else, which the weights' hash pins.

    Asks the hub, save for a full commit hash, and save under ``HF_HUB_OFFLINE=1``, where the local hub cache
    answers. Raises UserError when the name is unknown, the hub cannot be reached, or a revision is given for
    something that is no hub name.
    """
    if checkpoint.startswith("builtin:") or "://" in checkpoint or Path(checkpoint).expanduser().is_dir():
        if revision is not None:
            raise UserError(f"model.revision: {checkpoint} is no hub name, so it has no revisions; remove it")
        return None
    _require_hub_name(checkpoint)
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    if constants.HF_HUB_OFFLINE:
        cached = try_to_load_from_cache(checkpoint, "config.json", revision=revision or "main")
        if isinstance(cached, str):
            return Path(cached).parent.name
        raise UserError(
            f"model.checkpoint: {checkpoint} is not in the local hub cache and HF_HUB_OFFLINE is set; "
            "unset it, or give a local directory"
        )
    try:
        return HfApi().model_info(checkpoint, revision=revision, timeout=20).sha
    except Exception as error:
        raise UserError(
            f"model.checkpoint: the hub did not answer for {checkpoint} ({brief(error)}); check the name and "
            "the network, or give a local directory or URL"
        ) from error


def _directory(checkpoint: str) -> Path | None:
    """The local directory that holds the checkpoint, fetched if need be; None for a hub name."""
    if checkpoint.startswith("builtin:"):
        return _shipped(checkpoint.removeprefix("builtin:"))
    if "://" in checkpoint and not checkpoint.startswith("file://"):
        return _fetch(checkpoint)
    path = Path(checkpoint.removeprefix("file://")).expanduser()
    if path.is_dir():
        return path
    if checkpoint.startswith("file://"):
        raise UserError(f"model.checkpoint: {checkpoint}: no such directory")
    _require_hub_name(checkpoint)
    return None


def _shipped(name: str) -> Path:
    names = sorted(path.name for path in _SHIPPED.iterdir() if path.is_dir())
    if name in names:
        return _SHIPPED / name
    hint = meant(name, names, "builtin:{}")
    raise UserError(f"model.checkpoint: builtin:{name}: no shipped checkpoint of that name; {hint}")


def _require_hub_name(checkpoint: str) -> None:
    if not _HUB_NAME.fullmatch(checkpoint):
        raise UserError(
            f"model.checkpoint: {checkpoint}: no such directory, and not a hub name like "
            "CIDAS/clipseg-rd64-refined; check the path"
        )


def _fetch(url: str) -> Path:
    """Copy the files of the folder at `url` into the node's cache, once, and return the copy."""
    with plain_errors(url):
        store = Store.of(url)
        entries = sorted(entry for entry in store.list() if "/" not in entry.path)
    if not entries:
        raise UserError(f"model.checkpoint: {url}: no files there; give the folder that holds config.json")
    listing = json.dumps([url, *([entry.path, entry.size, entry.etag] for entry in entries)])
    name = hashlib.sha256(listing.encode()).hexdigest()[:24]
    root = Path(os.environ.get("CLIPSEG_RAY_CACHE") or "~/.cache/clipseg-ray").expanduser() / "checkpoints"
    root.mkdir(parents=True, exist_ok=True)
    target = root / name
    with FileLock(root / f"{name}.lock"):
        if target.is_dir():
            return target
        with tempfile.TemporaryDirectory(prefix=f"{name}.", dir=root, ignore_cleanup_errors=True) as temporary:
            copy = Path(temporary) / name
            copy.mkdir()
            for entry in entries:
                with plain_errors(store.url_of(entry.path)):
                    with store.open(entry.path, entry.etag) as remote, (copy / entry.path).open("wb") as local:
                        shutil.copyfileobj(remote, local, 2**22)
                if (copy / entry.path).stat().st_size != entry.size:
                    raise OSError(f"{store.url_of(entry.path)}: fewer bytes than listed ({entry.size})")
            copy.replace(target)
    return target


def _check_files(checkpoint: str, directory: Path) -> None:
    names = {path.name for path in directory.iterdir()}
    needed = {
        "config.json": "config.json" in names,
        "model.safetensors": not names.isdisjoint(_WEIGHTS),
        "tokenizer.json (or vocab.json and merges.txt)": "tokenizer.json" in names
        or {"vocab.json", "merges.txt"} <= names,
        "preprocessor_config.json": not names.isdisjoint({"preprocessor_config.json", "processor_config.json"}),
    }
    if missing := [name for name, there in needed.items() if not there]:
        raise UserError(
            f"model.checkpoint: {checkpoint} lacks {', '.join(missing)}; save model and processor there with "
            "transformers' save_pretrained"
        )


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


def _preprocessor_config(checkpoint: str, source: str, revision: str | None) -> dict[str, Any]:
    config = _read_json(source, "preprocessor_config.json", revision)
    if not config:  # newer transformers put the image processor inside the processor's own file
        config = _read_json(source, "processor_config.json", revision).get("image_processor", {})
    if not config:
        raise UserError(f"model.checkpoint: {checkpoint} lacks preprocessor_config.json")
    return config


def _read_json(source: str, name: str, revision: str | None) -> dict[str, Any]:
    """A JSON object of the checkpoint; empty when there is no such file."""
    path = cached_file(source, name, revision=revision or "main", _raise_exceptions_for_missing_entries=False)
    if path is None:
        return {}
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{source}/{name}: not valid JSON ({brief(error)})") from error
    if not isinstance(content, dict):
        raise UserError(f"{source}/{name}: not a JSON object")
    return content


@contextmanager
def _explained(checkpoint: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # transformers, safetensors and the hub each raise their own kinds
        raise UserError(f"model.checkpoint: {checkpoint} cannot be loaded: {brief(error)}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars from transformers: they would fill a worker's log."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _digest(model: CLIPSegForImageSegmentation) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
