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
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from clipseg_ray.addresses import protocol_of
from clipseg_ray.errors import UserError, brief, meant, nearest
from clipseg_ray.model import hub, weight_file, weights
from clipseg_ray.storage import Entry, Store, plain_errors

_SHIPPED = Path(__file__).parent / "shipped"
"""The folder of the checkpoints that ``builtin:<name>`` names."""


def is_hub_name(checkpoint: str) -> bool:
    """Whether it is to be looked for on the hub: neither a URL nor shipped nor anything that is there.

    Raises UserError for what is none of these and cannot be a hub name.
    """
    path = Path(checkpoint).expanduser()
    if checkpoint.startswith("builtin:") or "://" in checkpoint or path.exists():
        return False
    if not hub.is_name(checkpoint) or weight_file.is_one(checkpoint):
        near = nearest(checkpoint, known_names(), cutoff=0.7)
        hint = f" (did you mean {near[0]}?)" if near else _nearest(path)
        raise UserError(
            f"model.checkpoint: {checkpoint}: no such directory{hint}, and not a hub name like {hub.PUBLISHED[0]}; "
            "check the path"
        )
    return True


def known_names() -> list[str]:
    """The checkpoints that the package knows of: those CLIPSeg's authors published, and those it brings along."""
    return [*hub.PUBLISHED, *(f"builtin:{name}" for name in _shipped_names())]


def folder_of(checkpoint: str, revision: str | None) -> Path:
    """The directory that holds the checkpoint's files, fetched if need be. ``revision`` counts for hub names alone.

    Raises UserError when there is none, or it lacks a file.
    """
    if is_hub_name(checkpoint):
        folder = hub.download(checkpoint, revision)
    elif checkpoint.startswith("builtin:"):
        folder = _shipped(checkpoint.removeprefix("builtin:"))
    elif _is_remote(checkpoint):
        folder = _fetch(checkpoint)
    else:
        folder = Path(checkpoint.removeprefix("file://")).expanduser()
        if folder.is_file():
            if (folder.parent / "config.json").exists():
                raise UserError(f"model.checkpoint: {checkpoint}: is a file; give its folder, {folder.parent}")
            with folder.open("rb") as file:
                raise UserError(f"model.checkpoint: {checkpoint}: {weight_file.what_is(folder.name, file)}")
        if not folder.is_dir():
            raise UserError(f"model.checkpoint: {checkpoint}: no such directory{_nearest(folder)}")
    _check_files(checkpoint, {path.name for path in folder.iterdir()})
    return folder


def check(checkpoint: str) -> None:
    """Raise UserError where no checkpoint can be; of a URL its listing is read, of a hub name only what it looks like.

    Nothing is fetched.
    """
    if is_hub_name(checkpoint):
        return
    if _is_remote(checkpoint):
        _check_files(checkpoint, {entry.path for entry in _listed(checkpoint)})
    else:
        folder_of(checkpoint, None)


def here(checkpoint: str, revision: str | None) -> Path | None:
    """The folder of a checkpoint whose files are on this machine; None where they would have to be fetched.

    Of a hub name it is what the hub's local cache has: of a branch, the commit it stood for when it was fetched.
    """
    if _is_remote(checkpoint):
        folder: Path | None = _copy_of(checkpoint, _listed(checkpoint))
    else:
        folder = hub.cached(checkpoint, revision) if is_hub_name(checkpoint) else folder_of(checkpoint, None)
    whole = folder is not None and folder.is_dir() and not _lacking({path.name for path in folder.iterdir()})
    return folder if whole else None


def files_digest(checkpoint: str) -> str | None:
    """A digest of a folder's listing (names, sizes, etags), local or at a URL; None for a hub name, which a commit
    pins, and for what comes with the package."""
    if protocol_of(checkpoint) == "file" and not Store(checkpoint).fs.isdir(checkpoint):
        return None
    with plain_errors(checkpoint):
        entries = sorted(Store.of(checkpoint).list())
    return hashlib.sha256(json.dumps([(e.path, e.size, e.etag) for e in entries]).encode()).hexdigest()[:16]


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


def _shipped_names() -> list[str]:
    return sorted(path.name for path in _SHIPPED.iterdir() if path.is_dir())


def _shipped(name: str) -> Path:
    names = _shipped_names()
    if name in names:
        return _SHIPPED / name
    hint = meant(name, names, "builtin:{}")
    raise UserError(f"model.checkpoint: builtin:{name}: no shipped checkpoint of that name; {hint}")


def _nearest(path: Path) -> str:
    """The name beside a path that is not there which it was likely meant to be."""
    try:
        close = nearest(path.name, [each.name for each in path.absolute().parent.iterdir()])
    except OSError:  # a hint only
        close = []
    return f" (did you mean {path.with_name(close[0])}?)" if close else ""


def _is_remote(checkpoint: str) -> bool:
    return "://" in checkpoint and not checkpoint.startswith("file://")


def _listed(url: str) -> list[Entry]:
    """The files of the folder at ``url``, sorted."""
    if weight_file.is_one(url):
        raise UserError(f"model.checkpoint: {url}: {weight_file.NO_FOLDER}")
    with plain_errors(url):
        entries = sorted(entry for entry in Store.of(url).list() if "/" not in entry.path)
    if not entries:
        raise UserError(f"model.checkpoint: {url}: no files there; give the folder that holds config.json")
    return entries


def _copy_of(url: str, entries: Sequence[Entry]) -> Path:
    """Where the node's cache has, or will have, the files of this listing."""
    listing = json.dumps([url, *([entry.path, entry.size, entry.etag] for entry in entries)])
    root = Path(os.environ.get("CLIPSEG_RAY_CACHE") or "~/.cache/clipseg-ray").expanduser() / "checkpoints"
    return root / hashlib.sha256(listing.encode()).hexdigest()[:24]


def _fetch(url: str) -> Path:
    """Copy the files of the folder at `url` into the node's cache, once, and return the copy."""
    entries, store = _listed(url), Store.of(url)
    target = _copy_of(url, entries)
    root, name = target.parent, target.name
    root.mkdir(parents=True, exist_ok=True)
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


def _check_files(checkpoint: str, names: Collection[str]) -> None:
    missing = _lacking(names)
    if missing and (stray := sorted(filter(weight_file.is_training_file, names))):
        raise UserError(f"model.checkpoint: {checkpoint}: has {stray[0]}, which {weight_file.OF_THE_AUTHORS}")
    if missing:
        raise UserError(
            f"model.checkpoint: {checkpoint} lacks {', '.join(missing)}; save model and processor there with "
            "transformers' save_pretrained"
        )


def _lacking(names: Collection[str]) -> list[str]:
    """What a folder with files of these names lacks of a checkpoint."""
    needed = {
        "config.json": "config.json" in names,
        "model.safetensors": any(name in names for name in weights.FILES),
        "tokenizer.json (or vocab.json and merges.txt)": "tokenizer.json" in names
        or ("vocab.json" in names and "merges.txt" in names),
        "preprocessor_config.json": "preprocessor_config.json" in names or "processor_config.json" in names,
    }
    return [name for name, there in needed.items() if not there]
