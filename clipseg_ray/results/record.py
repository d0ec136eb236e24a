"""``_dataset.json``: what may never change in a dataset, and its fingerprint."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from clipseg_ray.errors import UserError
from clipseg_ray.results import layout, own_files, schema
from clipseg_ray.results.schema import SCHEMA_VERSION
from clipseg_ray.storage import Store, plain_errors
from clipseg_ray.tables import opened

_NOT_IN_FINGERPRINT = {"input.root", "model.checkpoint", "model.revision", "model.files", "compute.reason"}
"""Where the same bytes were found: it changes no mask."""


@dataclass(frozen=True, kw_only=True)
class DatasetRecord:
    """Everything that changes a mask or cuts a chunk, resolved to plain values.

    ``input``: root, format, reader (its version), image_field, id_field, chunk_images, chunk_bytes, slice_images,
    max_image_bytes, decode, limit, sample, seed. ``model``: checkpoint, revision, files (a digest of the checkpoint's
    listing), weights_sha256, grid, preprocessing. ``masks``: size, keep_empty, and see ``optional_columns``.
    ``compute``: device, precision, reason, compile, batch, decode_chunk.

    ``exclusive_create``: whether the storage refused to create an object that was there, when the record was made.
    ``changed``: whether the record was read and is not as it was written.
    """

    input: dict[str, Any]
    model: dict[str, Any]
    masks: dict[str, Any]
    compute: dict[str, Any]
    schema_version: int = SCHEMA_VERSION
    exclusive_create: bool = True
    changed: bool = field(default=False, compare=False)

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

    @property
    def sha256(self) -> str:
        """64 hex digits over all of it, by which a record that was changed is known."""
        return hashlib.sha256(json.dumps(self._body(), sort_keys=True).encode()).hexdigest()

    def _body(self) -> dict[str, Any]:
        body = asdict(self)
        del body["changed"]
        return {**body, "fingerprint": self.fingerprint}

    def to_json(self) -> bytes:
        """The file, with the hash of all the rest."""
        return json.dumps({**self._body(), "sha256": self.sha256}, indent=2, sort_keys=True).encode()

    def differences(self, other: DatasetRecord) -> list[str]:
        """One line per value that changes a mask and differs: ``name: here, there``."""
        mine, theirs = self.values(), other.values()
        return [
            f"{key}: the dataset has {_shown(mine, key)}, this run {_shown(theirs, key)}"
            for key in sorted(mine.keys() | theirs.keys())
            if key not in _NOT_IN_FINGERPRINT and mine.get(key) != theirs.get(key)
        ]


def _shown(values: dict[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "off"


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
    seal, _ = values.pop("sha256", None), values.pop("fingerprint", None)
    found = DatasetRecord(**values)
    return replace(found, changed=seal != found.sha256)


def read_to_write(store: Store) -> DatasetRecord | None:
    """The same for who will add to the dataset. Raises UserError where record and parts may not agree."""
    present = read(store)
    if present is None:
        refuse_over_parts(store)
    else:
        refuse_if_changed(store, present)
    return present


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
    """Put the record of a new dataset. Raises FileExistsError where there is one already, UserError over parts.

    What is put says whether the storage can be relied on to refuse: it is put once more, saying no.
    """
    refuse_over_parts(store)
    with plain_errors(store.url):
        store.create(layout.DATASET, replace(record, exclusive_create=True).to_json())
        with contextlib.suppress(FileExistsError):
            store.create(layout.DATASET, replace(record, exclusive_create=False).to_json())


def refuse_over_parts(store: Store) -> None:
    """Raise UserError where there are parts and no record that says what they were made with."""
    with plain_errors(store.url):
        path = _any_part(store)
        if path is None or store.exists(layout.DATASET):
            return
        with store.open(path) as file:
            made = schema.facts_of(opened(file).schema_arrow).get("fingerprint")
    raise UserError(
        f"{store.url}: has parts ({path}, of fingerprint {made}) and no {layout.DATASET} that says how "
        "they were made; a copy that left out names with _ in front loses it. Put it back, or choose another output.url"
    )


def _any_part(store: Store) -> str | None:
    for folder in (layout.IMAGES, layout.MASKS):
        for entry in store.list(folder):
            name = entry.path.rpartition("/")[2]
            if entry.size and (layout.parse_part_name(name) or layout.parse_compact_file(name)):
                return entry.path
    return None


def refuse_if_changed(store: Store, present: DatasetRecord) -> None:
    """Raise UserError where a record is not as it was written: what is computed by it would not go with the parts."""
    if present.changed:
        raise UserError(
            f"{store.url_of(layout.DATASET)}: was changed since it was written (its sha256 is another); put it back as "
            "it was, or choose another output.url"
        )


def refuse_if_different(store: Store, present: DatasetRecord, wanted: DatasetRecord) -> None:
    """Raise UserError with the differences a person can read."""
    if lines := present.differences(wanted):
        raise UserError(
            f"{store.url}: holds a dataset made with other settings; masks from both would not compare.\n"
            + "\n".join(f"  {line}" for line in lines)
            + "\n  Put the settings back, or choose another output.url."
        )
