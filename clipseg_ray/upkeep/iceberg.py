"""A dataset as tables of an Iceberg catalog: its files where they lie, by PyIceberg's ``add_files``.

No file of the dataset is written, moved or read but for its footer. Which files a table has is what the dataset's
listing says, and nothing else: each call brings the tables to it, a commit a table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow as pa

from clipseg_ray.errors import UserError, brief
from clipseg_ray.outside_text import native
from clipseg_ray.results import layout, own_files, record, schema
from clipseg_ray.results.compact_groups import Part
from clipseg_ray.results.optional_columns import masks_schema
from clipseg_ray.results.record import DatasetRecord
from clipseg_ray.storage import Store, plain_errors
from clipseg_ray.tables import parquet_bytes, parquet_table

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

_FINGERPRINT = "clipseg-ray.fingerprint"
_LISTED = "clipseg-ray.listed"
"""The table property that names the list of its files' sizes and etags, which Iceberg does not keep."""
_LIST = pa.schema([("uri", pa.string()), ("size", pa.int64()), ("tag", pa.int64())])


@dataclass(frozen=True, kw_only=True)
class Registered:
    """What one call did to one table, in files; ``files``: how many it has now."""

    name: str
    added: int
    replaced: int
    removed: int
    files: int

    def __str__(self) -> str:
        if not self.added + self.replaced + self.removed:
            return f"{self.name}: {self.files:,} files, as they are listed; nothing to do"
        return (
            f"{self.name}: {self.added:,} files added, {self.replaced:,} replaced, {self.removed:,} removed; "
            f"{self.files:,} now"
        )


def register(output: str, catalog: str, namespace: str) -> list[Registered]:
    """Bring the tables ``images`` and ``masks`` of ``namespace`` to what is listed at ``output``, a dataset or one
    compacted; both are made where they are not there.

    catalog: its name in PyIceberg's configuration (``.pyiceberg.yaml``, or ``PYICEBERG_CATALOG__<NAME>__…``).
    A file that is new is added, one whose size or etag changed is replaced, one that is gone is removed.

    Raises UserError where no dataset is, where PyIceberg or the catalog is not, and for a table of another dataset.
    """
    store = Store.of(output)
    with plain_errors(store.url):
        made = record.require(store)
        record.refuse_if_changed(store, made)
        listed = _listed(store, "compacted" in made.masks)
    if not listed[layout.IMAGES]:
        raise UserError(f"{store.url}: nothing has been written yet; see clipseg-ray status {store.url}")
    opened = _catalog(catalog)
    done = []
    with _explained(catalog):
        opened.create_namespace_if_not_exists(namespace)
        for name, columns in ((layout.IMAGES, schema.IMAGES), (layout.MASKS, masks_schema(made.masks))):
            table = _table(opened, f"{namespace}.{name}", columns, made)
            done.append(_brought(f"{catalog}.{namespace}.{name}", table, listed[name]))
    return done


def _listed(store: Store, compacted: bool) -> dict[str, dict[str, Part]]:
    """The files of each table by URI. A chunk's images are put before its masks, so masks are listed first."""
    listing = own_files.compacted if compacted else own_files.listed
    folders = [f"{layout.MASKS}/{name}" for name in store.folders(layout.MASKS)]
    masks = chain.from_iterable(listing(store, folder) for folder in folders if layout.is_of_set(folder))
    return {
        name: {_uri(store, entry.path): Part.of(entry) for entry in entries}
        for name, entries in ((layout.MASKS, masks), (layout.IMAGES, listing(store, layout.IMAGES)))
    }


def _uri(store: Store, path: str) -> str:
    """The file's name for readers of Iceberg tables, who take it as it is written: nothing is escaped in it."""
    url = native(store.url_of(path))
    if any(sign in url for sign in "?#") or not url.isprintable():
        raise UserError(f"{store.url}: Iceberg's readers cannot open paths with ?, # or control characters; move it")
    return f"file://{url}" if store.protocol == "file" else url


def _catalog(name: str) -> Catalog:
    try:
        from pyiceberg.catalog import load_catalog
        from pyiceberg.exceptions import NotInstalledError
    except ImportError as error:
        raise UserError(
            "tables of a catalog need PyIceberg, which is not here: pip install 'clipseg-ray[iceberg]'"
        ) from error
    try:
        return load_catalog(name)
    except (ValueError, NotInstalledError) as error:
        raise UserError(
            f"catalog {name!r}: {brief(error)}; describe it in .pyiceberg.yaml or by "
            f"PYICEBERG_CATALOG__{name.upper()}__URI and …__WAREHOUSE"
        ) from error


@contextlib.contextmanager
def _explained(catalog: str) -> Iterator[None]:
    """Turn what a catalog raises into one line."""
    from pyiceberg import exceptions

    try:
        yield
    except exceptions.CommitFailedException as error:
        raise UserError(f"catalog {catalog!r}: another changed a table meanwhile; register again") from error
    except exceptions.CommitStateUnknownException as error:
        raise UserError(f"catalog {catalog!r}: did not say whether it took the change; register again") from error
    except (exceptions.RESTError, ValueError, OSError) as error:
        raise UserError(f"catalog {catalog!r}: {brief(error)}") from error


def _table(catalog: Catalog, name: str, columns: pa.Schema, made: DatasetRecord) -> Table:
    """The table of this name, made if it is not there."""
    described = pa.schema([field.with_metadata({"doc": field.metadata[b"description"]}) for field in columns])
    table = catalog.create_table_if_not_exists(name, described, properties={_FINGERPRINT: made.fingerprint})
    if (theirs := table.properties.get(_FINGERPRINT)) != made.fingerprint:
        whose = "is of another dataset" if theirs else "was not made by clipseg-ray register"
        raise UserError(f"{name}: the table {whose}; choose another --namespace")
    return table


def _brought(name: str, table: Table, listed: Mapping[str, Part]) -> Registered:
    """The table with exactly the files that are listed, by at most one commit."""
    there = {task.file.file_path: task.file for task in table.scan().plan_files()}
    known = _known(table)
    same = {uri for uri, part in listed.items() if uri in there and known.get(uri) == (part.size, part.tag)}
    gone, fresh = there.keys() - same, sorted(listed.keys() - same)
    done = Registered(
        name=name,
        added=len(listed.keys() - there.keys()),
        replaced=len(gone & listed.keys()),
        removed=len(gone - listed.keys()),
        files=len(listed),
    )
    if gone or fresh:
        place = table.location_provider().new_metadata_location(f"clipseg-ray-{uuid4()}.parquet")
        rows = [{"uri": uri, "size": part.size, "tag": part.tag} for uri, part in sorted(listed.items())]
        with table.io.new_output(place).create() as file:
            file.write(parquet_bytes(pa.Table.from_pylist(rows, schema=_LIST)))
        with table.transaction() as change:
            if gone:
                with change.update_snapshot().overwrite() as snapshot:
                    for uri in gone:
                        snapshot.delete_data_file(there[uri])
            if fresh:
                change.add_files(fresh, check_duplicate_files=False)
            change.set_properties({_LISTED: place})
    return done


def _known(table: Table) -> dict[str, tuple[int, int]]:
    """Size and tag of each file as it was registered; nothing where the list was cleaned away: all are then new."""
    place = table.properties.get(_LISTED)
    if place is None:
        return {}
    try:
        with table.io.new_input(place).open() as file:
            rows = parquet_table(file.read(), place, _LIST.names)
    except FileNotFoundError:
        return {}
    return {uri: (size, tag) for uri, size, tag in zip(*(rows[name].to_pylist() for name in _LIST.names), strict=True)}
