"""What is wrong with a value of a settings file, in our words (pydantic speaks of inputs and instances)."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from clipseg_ray.errors import nearest

SECRET = "secret"
"""The type of a fault whose value must not be shown."""

_LIMITS = {"gt": "more than {}", "ge": "at least {}", "lt": "less than {}", "le": "at most {}"}
_OUTSIDE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a section of keys",
    "mapping": "a section of keys",
    "model": "a section of keys",
}
"""By the first word of pydantic's types of errors: ``int_parsing``, ``model_type``, …"""


def line(item: Mapping[str, Any], whole: type[BaseModel]) -> str:
    """One of ``ValidationError.errors()`` as ``section.key: what is wrong``; ``whole``: what was validated."""
    parts = [part for part in item["loc"] if not str(part).startswith("function-")]
    path = ".".join(map(str, parts))
    if item["type"] == "missing":
        example = getattr(whole, "examples", {}).get(path.split(".")[0], "")
        return f"{path}: required" + (f", e.g. {example}" if example else "")
    message = _message(item, parts, whole)
    if item["type"] == SECRET:
        return f"{path}: {message}"
    shown = repr(item["input"])
    hint = ""
    if item["type"] == "literal_error" and isinstance(item["input"], str):
        near = nearest(item["input"], re.findall(r"'([^']+)'", item["ctx"]["expected"]))
        hint = f"; did you mean {near[0]}?" if near else ""
    if item["type"] == "string_type" and isinstance(item["input"], int | float):
        hint = "; put it in quotes"
    return f"{path}: {message} (got {shown if len(shown) < 80 else shown[:77] + '…'}){hint}"


def _message(item: Mapping[str, Any], parts: Sequence[Any], whole: type[BaseModel]) -> str:
    kind, ctx = str(item["type"]), item.get("ctx", {})
    if kind == "literal_error":
        return f"it must be {ctx['expected']}"
    if kind in _OUTSIDE:
        limits = dict(_limits(_annotation(parts, whole))) or {key: ctx[key] for key in _LIMITS if key in ctx}
        return "it must be " + " and ".join(_LIMITS[key].format(f"{limit:g}") for key, limit in limits.items())
    if kind.endswith(("too_short", "too_long")):
        limit, most = ctx.get("min_length", ctx.get("max_length")), "least" if kind.endswith("short") else "most"
        one, several = ("character", "characters") if "string" in kind else ("entry", "entries")
        return f"it must have at {most} {limit} {one if limit == 1 else several}"
    if item["input"] is None:
        return "it must be given"
    if wanted := _KINDS.get(kind.partition("_")[0]):
        return f"it must be {wanted}"
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{message[0].lower()}{message[1:]}"


def _annotation(parts: Sequence[Any], whole: type[BaseModel]) -> Any:
    """The type, with its limits, of the value at ``parts``; None where it cannot be told."""
    here: Any = whole
    for part in parts:
        models = [each for each in _within(here) if isinstance(each, type) and issubclass(each, BaseModel)]
        if models:
            fields = {field.alias or name: field for name, field in models[0].model_fields.items()}
            if part not in fields:
                return None
            here = typing.Annotated[(fields[part].annotation, *fields[part].metadata, None)]
        else:
            inner = [typing.get_args(each) for each in _within(here) if typing.get_origin(each) in (list, dict, tuple)]
            here = inner[0][-1 if len(inner[0]) != 2 or inner[0][1] is not Ellipsis else 0] if inner else None
    return here


def _within(annotation: Any) -> Iterator[Any]:
    """A type and those that it is one of, without what is only said of it."""
    yield annotation
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _within(typing.get_args(annotation)[0])
    elif origin not in (list, dict, tuple):
        for each in typing.get_args(annotation):
            yield from _within(each)


def _limits(annotation: Any) -> Iterator[tuple[str, Any]]:
    for each in _within(annotation):
        for said in typing.get_args(each)[1:] if typing.get_origin(each) is typing.Annotated else ():
            for limit in (said, *getattr(said, "metadata", ())):
                yield from ((key, getattr(limit, key)) for key in _LIMITS if getattr(limit, key, None) is not None)
