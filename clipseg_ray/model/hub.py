"""Checkpoints on the Hugging Face hub: what a name stands for, and its files in the hub's local cache."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub  # loads most of its parts when they are first asked for, but not these two
import huggingface_hub.errors
import huggingface_hub.utils
from huggingface_hub import constants

from clipseg_ray.errors import UserError, brief, meant, nearest
from clipseg_ray.model import weights

SMALL_FILES = (
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
)
PUBLISHED = ("CIDAS/clipseg-rd64-refined", "CIDAS/clipseg-rd64", "CIDAS/clipseg-rd16")
"""The checkpoints that CLIPSeg's authors have put on the hub."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_name(checkpoint: str) -> bool:
    """Whether a hub name looks like this."""
    try:
        huggingface_hub.utils.validate_repo_id(checkpoint)
    except huggingface_hub.errors.HFValidationError:
        return False
    return _NAME.fullmatch(checkpoint) is not None


def doubt(name: str, known: Sequence[str]) -> str | None:
    """That a name is likely misspelt, and which of the ``known`` ones was meant; None without a reason to think so.

    The hub is not asked: a name under the authors' account, or under none, that is neither published nor in the cache.
    """
    owner = name.rpartition("/")[0].casefold()
    if name in PUBLISHED or cached(name, None) or (owner and not nearest(owner, ["cidas"], cutoff=0.7)):
        return None
    return f"model.checkpoint: {name} is no checkpoint of CLIPSeg's authors; {meant(name, known)}"


def cached(name: str, revision: str | None) -> Path | None:
    """The folder of the local cache with a revision (default "main") as it was fetched last; None where none is."""
    found = huggingface_hub.try_to_load_from_cache(name, "config.json", revision=revision or "main")
    return Path(found).parent if isinstance(found, str) else None


def commit_of(name: str, revision: str | None) -> str | None:
    """The commit that a name and a revision (default "main") stand for now.

    Asks the hub, save for a full commit hash, and save under ``HF_HUB_OFFLINE=1``, where the local hub cache
    answers. Raises UserError when the name is unknown or the hub cannot be reached.
    """
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    if constants.HF_HUB_OFFLINE:
        if (folder := cached(name, revision)) is not None:
            return folder.name
        raise UserError(
            f"model.checkpoint: {name} is not in the local hub cache and HF_HUB_OFFLINE is set; "
            "unset it, or give a local directory"
        )
    try:
        return huggingface_hub.HfApi().model_info(name, revision=revision, timeout=20).sha
    except Exception as error:
        raise UserError(
            f"model.checkpoint: the hub did not answer for {name} ({brief(error)}); check the name and "
            "the network, or give a local directory or URL"
        ) from error


def download(name: str, revision: str | None) -> Path:
    """The folder of the local hub cache with the checkpoint's files of one commit, fetched where they are not there.

    Of weights in several forms one is fetched. Raises UserError where there is no ``config.json``, and the hub's own
    errors where it cannot be reached.
    """
    with _quiet():
        config = _file(name, "config.json", revision or "main")
        if config is None:
            raise UserError(
                f"model.checkpoint: {name} has no config.json on the hub (under HF_HUB_OFFLINE: in its local cache); "
                "check the name"
            )
        commit = config.parent.name
        for file in SMALL_FILES:
            _file(name, file, commit)
        for file in weights.FILES:
            if (found := _file(name, file, commit)) is not None:
                for piece in weights.pieces(found) if found.suffix == ".json" else ():
                    _file(name, piece, commit)
                break
    return config.parent


def _file(name: str, file: str, revision: str) -> Path | None:
    """A file in the local hub cache; None where the checkpoint has none of that name, as far as can be told offline."""
    if _COMMIT.fullmatch(revision):  # of a branch, what the cache knows to be absent may have come since
        known = huggingface_hub.try_to_load_from_cache(name, file, revision=revision)
        if known is not None:
            return Path(known) if isinstance(known, str) else None
    try:
        return Path(huggingface_hub.hf_hub_download(name, file, revision=revision))
    except huggingface_hub.errors.LocalEntryNotFoundError:
        if constants.HF_HUB_OFFLINE:
            return None
        raise
    except huggingface_hub.errors.EntryNotFoundError:
        return None


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars: they would fill a worker's log."""
    shown = not huggingface_hub.utils.are_progress_bars_disabled()
    huggingface_hub.utils.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            huggingface_hub.utils.enable_progress_bars()
