"""What travels to a cluster with a job: this package, the configuration, and the query table that lies on this machine.

    parcel/
      clipseg_ray/        the code that was submitted, so that the cluster runs that and no other
      <name>.yaml         the configuration, overrides applied
      queries/            a local query table with the support pictures and masks it names

Data never travels: images, checkpoints and outputs are read and written by the cluster where the configuration says.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import clipseg_ray
from clipseg_ray import yaml_text
from clipseg_ray.addresses import protocol_of
from clipseg_ray.config import RunConfig
from clipseg_ray.errors import UserError
from clipseg_ray.queries.attachments import Attachment, attachments

_QUERIES = "queries"


def local_data(config: RunConfig) -> list[str]:
    """What the cluster would have to find on this machine, as ``key (path)``."""
    urls = [*(("input.url", url) for url in config.input.url), ("output.url", config.output.url)]
    if config.model.checkpoint.startswith("/"):
        urls.append(("model.checkpoint", config.model.checkpoint))
    return [f"{key} ({url})" for key, url in urls if protocol_of(url) in ("file", "memory")]


@contextmanager
def packed(config: RunConfig, name: str, *, shared: bool) -> Iterator[Path]:
    """A folder with everything the job needs, its configuration called ``name``; gone when the context is left.

    ``shared``: the cluster sees this machine's files, so that files outside the table's folder may stay where
    they are. Raises UserError for those otherwise.
    """
    with tempfile.TemporaryDirectory(prefix="clipseg-ray-") as temporary:
        folder = Path(temporary)
        package = Path(clipseg_ray.__file__).parent
        shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        values = config.resolved()
        if config.queries.table is not None:
            values["queries"]["table"] = _pack_table(config.queries.table, config.queries.where, folder, shared)
        (folder / name).write_text(yaml_text.dump(values))
        yield folder


def _pack_table(table: str, where: str | None, folder: Path, shared: bool) -> str:
    """Put a local table and its support pictures into the parcel; returns where the job finds it."""
    if table.startswith("builtin:"):
        return table
    files = [item for item in attachments(table, where) if protocol_of(item.path) == "file"]
    travels = protocol_of(table) == "file"
    fixed = [item for item in files if not _is_beside(item.path) and (travels or _is_absolute(item.path))]
    if fixed and not shared:
        raise UserError(_outside(table, fixed))
    if not travels:
        return table
    source = Path(table)
    target = folder / _QUERIES
    target.mkdir()
    shutil.copyfile(source, target / source.name)
    for item in files:
        if _is_beside(item.path):
            (target / item.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source.parent / item.path, target / item.path)
        elif not _is_absolute(item.path):
            raise UserError(_outside(table, [item]))
    return f"{_QUERIES}/{source.name}"


def _is_absolute(path: str) -> bool:
    return path.startswith(("/", "~", "file://"))


def _is_beside(path: str) -> bool:
    return not _is_absolute(path) and ".." not in PurePosixPath(path).parts


def _outside(table: str, files: list[Attachment]) -> str:
    named = ", ".join(f"row {item.row}, {item.column}: {item.path}" for item in files[:3])
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return (
        f"{table}: {named}{more}: not in the table's folder; a job takes along what lies there or below. "
        "Move the files there, or give their URLs"
    )
