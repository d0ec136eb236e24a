"""Plain data is passed by name: what has many fields is not built, and what takes many values not called, by place."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "clipseg_ray"
FIELDS, PLACES = 5, 5
BY_PLACE = ("masks", "demo/world")
"""Machine code takes its buffers, and a drawing its coordinates, in their order."""


def trees(*left_out: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(tuple(f"{room}/" for room in left_out)):
            yield name, ast.parse(path.read_text())


def is_keyword_only(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and any(
        each.arg == "kw_only" and ast.unparse(each.value) == "True" for each in decorator.keywords
    )


def is_field(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.AnnAssign)
        and "ClassVar" not in ast.unparse(statement.annotation)
        and "init=False" not in ast.unparse(statement).replace(" ", "")
    )


def wide_by_place(tree: ast.Module) -> Iterator[str]:
    """Dataclasses of five fields or more that can be built by place."""
    for node in ast.walk(tree):
        for decorator in node.decorator_list if isinstance(node, ast.ClassDef) else ():
            is_data = ast.unparse(decorator).partition("(")[0] == "dataclass"
            if is_data and not is_keyword_only(decorator) and sum(map(is_field, node.body)) >= FIELDS:
                yield node.name


def long_by_place(tree: ast.Module, ours: set[str]) -> Iterator[str]:
    """Calls of something of ours with more than five values by place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and len(node.args) > PLACES:
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in ours and not any(isinstance(each, ast.Starred) for each in node.args):
                yield f"{node.lineno}: {called}"


def of_ours() -> set[str]:
    """Names of the classes and functions in the package, but for those that take any number of values."""
    nodes = [node for _, tree in trees() for node in ast.walk(tree)]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    classes = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    return classes | {node.name for node in functions} - {node.name for node in functions if node.args.vararg}


def test_dataclasses_of_five_fields_are_built_by_name() -> None:
    assert [f"{name}: {found}" for name, tree in trees() for found in wide_by_place(tree)] == []


def test_no_call_passes_more_than_five_values_by_place() -> None:
    ours = of_ours()
    found = [f"{name}:{call}" for name, tree in trees(*BY_PLACE) for call in long_by_place(tree, ours)]
    assert found == []


@pytest.mark.parametrize("decorator", ["@dataclass", "@dataclass(frozen=True)", "@dataclass(kw_only=False)"])
def test_what_the_checks_find(decorator: str) -> None:
    fields = "".join(f"    {name}: int\n" for name in "abcde")
    assert list(wide_by_place(ast.parse(f"{decorator}\nclass A:\n{fields}"))) == ["A"]
    assert list(wide_by_place(ast.parse(f"@dataclass(kw_only=True)\nclass A:\n{fields}"))) == []
    assert list(wide_by_place(ast.parse(f"{decorator}\nclass A:\n{fields[:-11]}"))) == []
    assert list(long_by_place(ast.parse("x.f(1, 2, 3, 4, 5, 6)\ng(1, 2, 3, 4, 5, 6)\nf(1, 2, 3, 4, 5)"), {"f"})) == [
        "1: f"
    ]
