"""Walls that imports do not show: who touches files, how large a room may grow. Those of imports: `make lint`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "clipseg_ray"
FILE_MODULES = {"clipseg_ray.storage", "fsspec", "glob", "io", "mmap", "os", "pathlib", "shutil", "tempfile"}
FILE_CALLS = {
    "open", "read_bytes", "read_text", "write_bytes", "write_text", "from_pretrained", "save_pretrained", "memmap",
    "fromfile", "tofile", "load_file", "save_file", "safe_open", "read_file",
}  # fmt: skip
OF_LIBRARIES = {f"{library}.{name}" for library in ("np", "torch", "json") for name in ("load", "save", "dump")}
TOUCH_FILES = {
    "model/checkpoint.py",
    "model/folder.py",
    "model/hub.py",
    "model/tokenizer.py",
    "model/weights.py",
    "model/precision.py",  # /proc/cpuinfo alone: what the processor can do, which nothing else reports
}


def file_access(code: str) -> Iterator[str]:
    """What in a module's text reaches for files."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called.rpartition(".")[2] in FILE_CALLS or called in OF_LIBRARIES:
                yield called
            continue
        else:
            continue
        yield from (name for name in names if name in FILE_MODULES or name.partition(".")[0] in FILE_MODULES)


@pytest.mark.parametrize(
    "code",
    [
        "open('a')",
        "np.load(path)",
        "torch.save(weights, path)",
        "def f():\n    import os.path",
        "from pathlib import Path",
        "from clipseg_ray import storage",
        "from clipseg_ray.storage import Store",
        "Model.from_pretrained(name)",
        "place.read_bytes()",
    ],
)
def test_every_way_to_a_file_is_seen(code: str) -> None:
    assert list(file_access(code))


@pytest.mark.parametrize("room", ["masks", "model"])
def test_masks_know_no_files_and_models_only_checkpoints(room: str) -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): accesses
        for path in sorted((PACKAGE / room).rglob("*.py"))
        if (accesses := list(file_access(path.read_text())))
    }
    assert found.keys() == {name for name in TOUCH_FILES if name.startswith(room)}, found


def test_every_folder_of_modules_is_a_package() -> None:
    # A folder without __init__.py is in no wheel, and import-linter does not see it.
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_the_job_stays_small() -> None:
    lines = {path.name: len(path.read_text().splitlines()) for path in (PACKAGE / "pipeline").glob("*.py")}
    assert sum(lines.values()) < 3000, lines
    assert lines["graph.py"] < 180, "the whole job is on one screen"
