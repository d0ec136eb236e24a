"""docs/configuration.md from the configurations' own docstrings: ``make docs``.

A test holds the page against what this module gives.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types as bounds
import yaml
from pydantic.fields import FieldInfo

from clipseg_ray.config import RunConfig
from clipseg_ray.evaluation.config import EvaluateConfig
from clipseg_ray.evaluation.paper.config import PaperConfig
from clipseg_ray.settings import ByteCount, OneOrSeveral, Section, Settings
from clipseg_ray.training.config import TrainConfig

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"

PAGES: list[tuple[str, type[Settings], str]] = [
    ("Run", RunConfig, "`clipseg-ray run`, `plan`, `submit`; an example is `configs/s3.yaml`."),
    (
        "Train",
        TrainConfig,
        "`clipseg-ray train` ([training](training.md)); an example is `configs/train-phrasecut.yaml`.",
    ),
    (
        "Evaluate",
        EvaluateConfig,
        "`clipseg-ray evaluate` ([evaluation](evaluation.md)); an example is `configs/evaluate-scenes.yaml`.",
    ),
    (
        "Published table",
        PaperConfig,
        "`clipseg-ray paper` ([evaluation](evaluation.md#the-papers-tables)); examples are `configs/paper/*.yaml`.",
    ),
]

HEAD = """\
# Configuration

Every key of the four configurations, from the docstrings beside them: `make docs` writes this page again, and a test
compares it.

A configuration is a YAML file of sections, at any path or URL, in UTF-8: YAML 1.2, where `on`, `yes` and dates are
texts. A key that is there twice is refused, and so are `010` and `12:30`, which some read as 8 and 750: write `10`, or
quotes. `-s section.key=value` changes one key, and may be given many times. A text is taken as it is
(`-s 'input.url=dir #2'`, `*.jpg`), several are in brackets (`[a, b]`); nothing or `null` unsets a key that need not be
set. Paths in a file are relative to that file, in `-s` to the working directory. All faults of a file are reported at
once. Where no default stands, the key may be left out, unless it is required.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, settings, about in PAGES:
        parts.append(f"## {title}\n\n{about}\n")
        parts += sections(settings, "")
    return "\n".join(parts)


def sections(section: type[Section], path: str) -> Iterator[str]:
    """A table of the section's keys, if it has any, then the sections inside it."""
    meanings = docstrings(section)
    rows, inner = [], []
    for name, field in section.model_fields.items():
        key = field.alias or name
        nested = section_of(field.annotation)
        if nested is not None:
            ending = {list: "[]", dict: ".NAME"}.get(typing.get_origin(field.annotation), "")
            inner.append((nested, f"{path}{key}{ending}"))
        else:
            cells = (f"`{key}`", kind(field.annotation, field.metadata), default(field), meanings.get(name, ""))
            rows.append(f"| {' | '.join(cells)} |")
    if rows:
        yield "\n".join(["| key | | default | |", "|---|---|---|---|", *rows, ""])
    for nested, dotted in inner:
        yield f"### {dotted}\n\n{prose(inspect.getdoc(nested) or '')}\n"
        yield from sections(nested, f"{dotted}.")


def section_of(annotation: Any) -> type[Section] | None:
    """The section that a key holds, alone, in a list, by names, or perhaps; None for plain values."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    if typing.get_origin(annotation) is Annotated:
        return section_of(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (list, dict, types.UnionType, typing.Union):
        return next((found for found in map(section_of, typing.get_args(annotation)) if found is not None), None)
    return None


def docstrings(section: type[Section]) -> dict[str, str]:
    """The string under each field, base classes included, by the field's name."""
    found: dict[str, str] = {}
    for owner in reversed(section.__mro__):
        if not issubclass(owner, Section) or owner is Section:
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(tree, ast.ClassDef)
        for field, after in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                match after:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        found[field.target.id] = prose(text)
    return found


def prose(docstring: str) -> str:
    """A docstring as one line of Markdown that may stand in a table."""
    return " ".join(inspect.cleandoc(docstring).split()).replace("``", "`").replace("|", r"\|")


def kind(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """What a value may be, in words: choices, type and bounds."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return kind(arguments[0], annotation.__metadata__)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(kind(each) for each in arguments if each is not type(None))
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if _like(OneOrSeveral, metadata):
        return "one or several strings"
    if _like(ByteCount, metadata):
        return "bytes, also as `8GiB`"
    if origin is dict:
        return f"names: {kind(arguments[1])}"
    if origin is tuple and arguments[-1] is not Ellipsis:
        return f"{len(arguments)} of: {kind(arguments[0])}"
    if origin in (list, tuple):
        return f"list of: {kind(arguments[0])}"
    word = {int: "integer", float: "number", str: "string", bool: "`true`, `false`"}[annotation]
    return " ".join([word, *_limits(metadata)])


def _like(annotated: Any, metadata: Sequence[Any]) -> bool:
    """Whether ``metadata`` has what makes ``annotated`` more than its plain type."""
    return any(mark in metadata for mark in annotated.__metadata__)


def _limits(metadata: Sequence[Any]) -> Iterator[str]:
    for mark in metadata:
        for limit in getattr(mark, "metadata", None) or [mark]:
            match limit:
                case bounds.Ge(ge=value):
                    yield f"≥ {value}"
                case bounds.Gt(gt=value):
                    yield f"> {value}"
                case bounds.Le(le=value):
                    yield f"≤ {value}"
                case bounds.Lt(lt=value):
                    yield f"< {value}"


def default(field: FieldInfo) -> str:
    """The default as it would be written in YAML; empty for None, which stands for what the docstring says."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return ""
    if _like(ByteCount, field.metadata):
        return f"`{value // 2**20}MiB`"
    plain = list(value) if isinstance(value, tuple) else value
    return f"`{yaml.safe_dump(plain, default_flow_style=True).removesuffix(chr(10)).removesuffix('...').strip()}`"


if __name__ == "__main__":
    PAGE.write_text(page())
