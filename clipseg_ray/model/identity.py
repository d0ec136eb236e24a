"""Whether a checkpoint is the one that a dataset was made with, as far as that is known without fetching it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.folder import here
from clipseg_ray.storage import Store, plain_errors, protocol_of


def files_digest(checkpoint: str) -> str | None:
    """A digest of a folder's listing (names, sizes, etags), local or at a URL; None for a hub name, which a commit
    pins, and for what comes with the package."""
    if protocol_of(checkpoint) == "file" and not Store(checkpoint).fs.isdir(checkpoint):
        return None
    with plain_errors(checkpoint):
        entries = sorted(Store.of(checkpoint).list())
    return hashlib.sha256(json.dumps([(e.path, e.size, e.etag) for e in entries]).encode()).hexdigest()[:16]


def is_unchanged(checkpoint: str, revision: str | None, recorded: Mapping[str, Any]) -> bool:
    """Whether this is the very checkpoint of the record's ``model`` section, and its files are as they were."""
    if recorded["checkpoint"] != checkpoint:
        return False
    files = files_digest(checkpoint)
    return revision in (None, recorded["revision"]) if files is None else bool(files == recorded["files"])


def weights_here(checkpoint: str, revision: str | None) -> dict[str, Any] | None:
    """What the record's ``model`` section says of the weights, of a checkpoint whose files are on this machine.

    None where they would have to be fetched. Raises UserError as ``checkpoint.load`` does.
    """
    folder = here(checkpoint, revision)
    if folder is None:
        return None
    loaded = checkpoints.load(str(folder))
    return {"weights_sha256": loaded.weights_sha256, "preprocessing": loaded.preprocessing.to_json()}
