"""A checkpoint's files on this machine: hub name, local directory, any URL storage can read, or inside the package.

A URL is copied once per node into ``$CLIPSEG_RAY_CACHE`` (default ``~/.cache/clipseg-ray``) under a name made of
the URL and its listing, so replaced weights are fetched anew and workers that start together fetch once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from filelock import FileLock

from clipseg_ray.errors import UserError, brief, meant
from clipseg_ray.model import hub, weights
from clipseg_ray.storage import Store, plain_errors

_SHIPPED = Path(__file__).parent / "shipped"
"""The folder of the checkpoints that ``builtin:<name>`` names."""


def is_hub_name(checkpoint: str) -> bool:
    """Whether it is to be looked for on the hub: neither a URL nor shipped nor a directory that is there.

    Raises UserError for what is none of these and cannot be a hub name.
    """
    if checkpoint.startswith("builtin:") or "://" in checkpoint or Path(checkpoint).expanduser().is_dir():
        return False
    hub.require_name(checkpoint)
    return True


def folder_of(checkpoint: str, revision: str | None) -> Path:
    """The directory that holds the checkpoint's files, fetched if need be. ``revision`` counts for hub names alone.

    Raises UserError when there is none, or it lacks a file.
    """
    if is_hub_name(checkpoint):
        folder = hub.download(checkpoint, revision)
    elif checkpoint.startswith("builtin:"):
        folder = _shipped(checkpoint.removeprefix("builtin:"))
    elif "://" in checkpoint and not checkpoint.startswith("file://"):
        folder = _fetch(checkpoint)
    else:
        folder = Path(checkpoint.removeprefix("file://")).expanduser()
        if not folder.is_dir():
            raise UserError(f"model.checkpoint: {checkpoint}: no such directory")
    _check_files(checkpoint, folder)
    return folder


def json_object(path: Path) -> dict[str, Any]:
    """A JSON object of the checkpoint; empty when there is no such file."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({brief(error)})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object")
    return content


def _shipped(name: str) -> Path:
    names = sorted(path.name for path in _SHIPPED.iterdir() if path.is_dir())
    if name in names:
        return _SHIPPED / name
    hint = meant(name, names, "builtin:{}")
    raise UserError(f"model.checkpoint: builtin:{name}: no shipped checkpoint of that name; {hint}")


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


def _check_files(checkpoint: str, folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    needed = {
        "config.json": "config.json" in names,
        "model.safetensors": not names.isdisjoint(weights.FILES),
        "tokenizer.json (or vocab.json and merges.txt)": "tokenizer.json" in names
        or {"vocab.json", "merges.txt"} <= names,
        "preprocessor_config.json": not names.isdisjoint({"preprocessor_config.json", "processor_config.json"}),
    }
    if missing := [name for name, there in needed.items() if not there]:
        raise UserError(
            f"model.checkpoint: {checkpoint} lacks {', '.join(missing)}; save model and processor there with "
            "transformers' save_pretrained"
        )
