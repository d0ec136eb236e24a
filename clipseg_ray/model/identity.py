"""Whether a checkpoint is the one that a dataset was made with, as far as that is known without fetching it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipseg_ray.errors import UserError
from clipseg_ray.model import checkpoint as checkpoints
from clipseg_ray.model.folder import files_digest, here


def is_unchanged(checkpoint: str, revision: str | None, recorded: Mapping[str, Any]) -> bool:
    """Whether this is the very checkpoint of the record's ``model`` section, and its files are as they were."""
    if recorded["checkpoint"] != checkpoint:
        return False
    files = files_digest(checkpoint)
    return revision in (None, recorded["revision"]) if files is None else bool(files == recorded["files"])


def compare(checkpoint: str, revision: str | None, recorded: Mapping[str, Any], output: str) -> str | None:
    """Hold a checkpoint's weights and preprocessing, where its files are on this machine, against the record's.

    Returns None where they are the same, else a line that says who will compare them. Raises UserError where they
    differ, naming ``output``, the dataset's URL, and as ``checkpoint.load`` does.
    """
    folder = here(checkpoint, revision)
    if folder is None:
        return f"model.checkpoint: the dataset was made with {recorded['checkpoint']}; a run compares the weights"
    loaded = checkpoints.load(str(folder))
    own = {"weights_sha256": loaded.weights_sha256, "preprocessing": loaded.preprocessing.to_json()}
    lines = [
        f"  model.{key}: the dataset has {recorded[key]!r}, this run {value!r}"
        for key, value in own.items()
        if recorded[key] != value
    ]
    if not lines:
        return None
    raise UserError(
        f"model.checkpoint: {checkpoint} is not the model that {output} was made with ({recorded['checkpoint']}); "
        "masks of both would not compare.\n" + "\n".join(lines) + "\n  Put it back, or choose another output.url."
    )
