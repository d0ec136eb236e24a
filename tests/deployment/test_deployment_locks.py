"""What is installed where, by lock files, pyproject.toml and what the package imports; and which checks run where."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clipseg_ray"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-clients.lock")
TOOLS = {"pytest", "hypothesis", "moto", "selenium", "mypy", "ruff", "datasets", "scikit-learn", "polars"}

OPTIONAL = {"polars", "triton", "pillow_heif", "starlette", "uvicorn", "pyiceberg"}
"""Imported where they are there only: `clipseg_ray.polars` by who has it, Triton with a PyTorch that brings it, the
decoder of HEIC, the workbench's server and PyIceberg by who has installed the extra."""


def own(lock: str) -> dict[str, str]:
    """The versions that ``lock`` itself pins, by normalised name."""
    lines = (ROOT / lock).read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith(("#", "-r "))]
    return {canonicalize_name(name): version for name, version in pins}


RUNTIME = own("requirements.lock")


@pytest.mark.parametrize("lock", LOCKS[1:])
def test_the_others_are_the_runtime_lock_and_more(lock: str) -> None:
    assert "\n-r requirements.lock\n" in (ROOT / lock).read_text()
    assert own(lock)
    assert not own(lock).keys() & RUNTIME.keys()
    shared = own("requirements-dev.lock").keys() & own("requirements-clients.lock").keys()
    assert {own(name)["pytest"] for name in LOCKS[1:]} == {own(lock)["pytest"]}
    assert all(own("requirements-dev.lock")[name] == own("requirements-clients.lock")[name] for name in shared)


@pytest.mark.parametrize(
    ("lock", "asked"),
    [
        ("requirements.lock", PROJECT["project"]["dependencies"]),
        ("requirements.lock", PROJECT["project"]["optional-dependencies"]["aws"]),
        ("requirements-dev.lock", PROJECT["project"]["optional-dependencies"]["dev"]),
        ("requirements-dev.lock", PROJECT["project"]["optional-dependencies"]["workbench"]),
        ("requirements-clients.lock", PROJECT["project"]["optional-dependencies"]["iceberg"]),
    ],
)
def test_what_pyproject_asks_for_is_pinned_within_its_bounds(lock: str, asked: list[str]) -> None:
    pinned = RUNTIME | own(lock)
    for requirement in map(Requirement, asked):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{lock} lacks {requirement}"
        assert requirement.specifier.contains(version), f"{lock} has {requirement.name} {version}, not {requirement}"


def test_the_runtime_lock_has_what_the_package_imports_and_no_tool() -> None:
    modules = {name for path in PACKAGE.rglob("*.py") for name in imported(ast.parse(path.read_text()))}
    foreign = modules - sys.stdlib_module_names - {"clipseg_ray"} - OPTIONAL
    assert {"ray", "torch", "yaml", "PIL"} <= foreign
    distributions = packages_distributions()
    for module in foreign:
        names = {canonicalize_name(name) for name in distributions[module]}
        assert names & RUNTIME.keys(), f"clipseg_ray imports {module}, which requirements.lock lacks"
    assert not TOOLS & RUNTIME.keys()
    assert own("requirements-dev.lock").keys() >= TOOLS


def imported(tree: ast.Module) -> set[str]:
    """The top-level packages that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module.partition(".")[0])
    return found


def test_a_node_gets_every_file_of_the_package_and_its_types() -> None:
    """The image and cluster.yaml copy the folder alone: a link out of it would arrive broken."""
    assert not [path for path in PACKAGE.rglob("*") if path.is_symlink()]
    data = PROJECT["tool"]["setuptools"]["package-data"]
    for package, patterns in data.items():
        folder = ROOT.joinpath(*package.split("."))
        assert all(any(folder.glob(pattern)) for pattern in patterns), f"{package} has nothing of {patterns}"
    assert "py.typed" in data["clipseg_ray"]


def test_ruff_before_a_commit_is_the_one_of_make_lint() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["rev"] == "v" + own("requirements-dev.lock")["ruff"]
    assert [hook["id"] for hook in repository["hooks"]] == ["ruff-check", "ruff-format"]


def test_every_check_is_a_make_target_and_runs_in_both_places() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    elsewhere = set(workflow["jobs"]["make"]["strategy"]["matrix"]["target"])
    assert workflow["jobs"]["make"]["steps"][-1] == {"run": "make ${{ matrix.target }}"}
    here = set(re.findall(r"^step make (\S+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE))
    assert here - elsewhere == {"clean"}
    assert elsewhere <= here
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert here <= targets
    assert {target for target in targets if target.startswith(("lint", "test"))} <= elsewhere
