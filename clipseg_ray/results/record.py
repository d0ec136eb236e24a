"""``_dataset.json``: what may never change in a dataset, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from clipseg_ray.errors import UserError
from clipseg_ray.results import layout, own_files
from clipseg_ray.results.schema import SCHEMA_VERSION
from clipseg_ray.storage import Store, plain_errors

_NOT_IN_FINGERPRINT = {"input.root", "model.checkpoint", "model.revision", "model.files", "compute.reason"}
"""Where the same bytes were found: it changes no mask."""


@dataclass(frozen=True, kw_only=True)
class DatasetRecord:
    """Everything that changes a mask or cuts a chunk, resolved to plain values.

    ``input``: root, format, image_field, id_field, chunk_images, chunk_bytes, slice_images, decode, limit, sample,
    seed. ``model``: checkpoint, revision, files (a digest of the checkpoint's listing), weights_sha256, grid,
    preprocessing. ``masks``: size, keep_empty, and see ``optional_columns``. ``compute``: device, precision,
    reason, compile, batch, decode_chunk.
    """

    input: dict[str, Any]
    model: dict[str, Any]
    masks: dict[str, Any]
    compute: dict[str, Any]
    schema_version: int = SCHEMA_VERSION

    def values(self) -> dict[str, Any]:
        """The record as dotted names and plain values."""
        flat: dict[str, Any] = {"schema_version": self.schema_version}
        for section in ("input", "model", "masks", "compute"):
            flat |= {f"{section}.{key}": value for key, value in getattr(self, section).items()}
        return flat

    @property
    def fingerprint(self) -> str:
        """16 hex digits over everything that changes a mask."""
        kept = {key: value for key, value in self.values().items() if key not in _NOT_IN_FINGERPRINT}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]

    def differences(self, other: DatasetRecord) -> list[str]:
        """One line per value that changes a mask and differs: ``name: here, there``."""
        mine, theirs = self.values(), other.values()
        return [
            f"{key}: the dataset has {mine.get(key)!r}, this run {theirs.get(key)!r}"
            for key in sorted(mine.keys() | theirs.keys())
            if key not in _NOT_IN_FINGERPRINT and mine.get(key) != theirs.get(key)
        ]


def read(store: Store) -> DatasetRecord | None:
    """The record of the dataset at ``store``; None where there is none yet."""
    with plain_errors(store.url):
        try:
            data = store.get(layout.DATASET)
        except FileNotFoundError:
            return None
    keys = ("schema_version", "fingerprint", "input", "model", "masks", "compute")
    values = own_files.json_object(data, store.url_of(layout.DATASET), keys)
    if values.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"{store.url_of(layout.DATASET)}: schema version {values.get('schema_version')}, this release writes "
            f"{SCHEMA_VERSION}; read it with the release that wrote it or choose another output.url"
        )
    values.pop("fingerprint")
    return DatasetRecord(**values)


def require(store: Store, check: str = "the URL") -> DatasetRecord:
    """The record of the dataset at ``store``. Raises UserError where no dataset is; ``check``: what to look at then."""
    made = read(store)
    if made is None:
        raise absent(store, check)
    return made


def absent(store: Store, check: str = "the URL") -> UserError:
    """What to say where no dataset is."""
    return UserError(f"{store.url}: no dataset here (no {layout.DATASET}); check {check}")


def create(store: Store, record: DatasetRecord) -> None:
    """Put the record of a new dataset. Raises FileExistsError where there is one already."""
    body = {**asdict(record), "fingerprint": record.fingerprint}
    with plain_errors(store.url):
        store.create(layout.DATASET, json.dumps(body, indent=2, sort_keys=True).encode())


def refuse_if_different(store: Store, present: DatasetRecord, wanted: DatasetRecord) -> None:
    """Raise UserError with the differences a person can read."""
    if lines := present.differences(wanted):
        raise UserError(
            f"{store.url}: holds a dataset made with other settings; masks from both would not compare.\n"
            + "\n".join(f"  {line}" for line in lines)
            + "\n  Put the settings back, or choose another output.url."
        )
