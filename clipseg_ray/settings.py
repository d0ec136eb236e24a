"""Settings files: YAML into pydantic models, changed by dotted overrides, every fault reported at once.

    class TrainConfig(Settings):
        data: Location
        steps: Annotated[int, Field(ge=1)] = 1000

    config = TrainConfig.load("configs/train.yaml", ["steps=50", "data=scenes/"])

Sections are models of their own (`Section`); lists and mappings of sections may be nested. A path in a file is relative
to that file, one in an override to the working directory: fields that hold paths say so (`Location`, `Locations`,
`CheckpointName`), and become absolute as they are read.
"""

from __future__ import annotations

import contextlib
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, TypeGuard

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from clipseg_ray import addresses, http_client, outside_text, plain_text, setting_faults, storage, yaml_text
from clipseg_ray.errors import UserError, brief, nearest
from clipseg_ray.redaction import redacted


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str | int | float) else value


def _byte_count(value: Any) -> Any:
    units = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([kmg]i?)?b?\s*", value.lower())
        if match is None:
            raise ValueError("write bytes as a number or like 8GiB, 500MB")
        return int(float(match[1]) * units[match[2] or ""])
    return value


class _Typed(str):
    """A string of the command line: a path in it is relative to the working directory."""


class _TypedLoader(yaml_text.Loader):
    """YAML whose strings are `_Typed`."""


_TypedLoader.add_constructor("tag:yaml.org,2002:str", lambda _, node: _Typed(node.value))


def _located(value: Any, info: ValidationInfo) -> Any:
    """Paths among ``value`` made absolute; the context is the folder of the file that has them."""
    if isinstance(value, list):
        return [_located(each, info) for each in value]
    if not isinstance(value, str) or value.startswith("builtin:"):
        return value
    if not value.strip():
        raise ValueError("it is empty; name a folder or URL (. is the working directory)")
    if "\0" in outside_text.native(value):
        raise ValueError("no name has a null byte")
    url = addresses.absolute(value, "" if isinstance(value, _Typed) else info.context or "")
    if addresses.is_http(url):
        try:
            http_client.as_given(url)
        except ValueError as error:
            raise ValueError(f"no valid URL ({brief(error)})") from error
    if redacted(url) != url:
        raise PydanticCustomError(
            setting_faults.SECRET,
            "{scheme}://… holds credentials; give them in the environment instead",
            {"scheme": addresses.protocol_of(url)},
        )
    return url


def _checkpoint(value: Any, info: ValidationInfo) -> Any:
    located = _located(value, info)
    if located == value or value.startswith((".", "/", "~")):
        return located
    store = storage.Store.of(located)
    with contextlib.suppress(PermissionError):  # beside a file in a bucket that gives it and lists nothing
        if store.protocol not in ("http", "https") and store.fs.isdir(store.root):
            return located
        if store.protocol == "file" and store.fs.isfile(store.root):  # no checkpoint; what it is will be said
            return located
    return value


OneOrSeveral = Annotated[list[str], BeforeValidator(_listed)]
"""A list of strings that may be written as one string."""

Location = Annotated[str, BeforeValidator(_located)]
"""A path or URL without credentials, or ``builtin:<name>``."""

Locations = Annotated[OneOrSeveral, BeforeValidator(_located)]
"""One or several of them."""

CheckpointName = Annotated[str, BeforeValidator(_checkpoint)]
"""A `Location`, or a hub name: a name without ``.``, ``/`` or ``~`` in front is a path only where there is a folder of
that name, or here a file."""

ByteCount = Annotated[int, BeforeValidator(_byte_count)]
"""A number of bytes that may be written as 8GiB or 500MB."""


class Section(BaseModel):
    """Keys that belong together. Unknown keys are faults."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Settings(Section):
    """A whole settings file. Subclasses may say what is wrong across keys."""

    examples: ClassVar[Mapping[str, str]] = {}
    """For top-level keys that are required: how to write them."""

    def faults(self) -> Iterator[str]:
        """What no single key shows, each as ``section.key: what is wrong``."""
        return iter(())

    def resolved(self) -> dict[str, Any]:
        """The whole configuration as plain values, defaults filled in."""
        return self.model_dump(mode="json", by_alias=True)

    def changed(self) -> dict[str, Any]:
        """What differs from the defaults, as plain values by section."""
        values = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return {key: value for key, value in values.items() if value != {}}

    @classmethod
    def load(cls, path: str, overrides: Sequence[str] = ()) -> Self:
        """Read a YAML file at any URL and apply ``a.b=value`` overrides: texts as they are, other values as YAML.

        Paths become absolute, so that they mean the same on every worker. Raises UserError naming every fault with
        its dotted path.
        """
        folder = addresses.without_query(addresses.absolute(path)).rpartition("/")[0]
        with storage.plain_errors(path):
            data = storage.Store.of(path).get("")
        try:
            values = yaml_text.load(plain_text.text_of(data)) or {}
        except (yaml.YAMLError, ValueError) as error:
            raise UserError(f"{path}: not valid YAML: {brief(error)}") from error
        if not isinstance(values, dict):
            names = ", ".join(list(_fields(cls))[:2])
            raise UserError(
                f"{path}: a configuration is a mapping of sections ({names}, …), not a {type(values).__name__}"
            )
        return cls.parse(values, overrides, source=path, folder=folder or "/")

    @classmethod
    def parse(
        cls,
        values: Mapping[str, Any],
        overrides: Sequence[str] = (),
        *,
        source: str = "configuration",
        folder: str = "",
    ) -> Self:
        """Check a configuration given as nested mappings. Raises UserError naming every fault.

        ``folder``: what relative paths among ``values`` are relative to (default: the working directory).
        """
        merged: dict[str, Any] = {key: dict(part) if isinstance(part, dict) else part for key, part in values.items()}
        for override in overrides:
            _apply(merged, override, cls)
        faults = list(_unknown_keys(merged, cls, path="", whole=cls))
        config: Self | None = None
        try:
            config = cls.model_validate(merged, context=folder)
        except ValidationError as error:
            faults += [setting_faults.line(item, cls) for item in error.errors() if item["type"] != "extra_forbidden"]
        if config is not None:
            faults += config.faults()
        if faults or config is None:
            raise UserError(f"{source}: {len(faults)} fault(s)\n" + "\n".join(f"  {fault}" for fault in faults))
        return config


def _apply(values: dict[str, Any], override: str, model: type[BaseModel]) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"-s {override}: write it as section.key=value, e.g. -s masks.threshold=0.4")
    *sections, last = key.strip().split(".")
    place = values
    for depth, section in enumerate(sections):
        inner = place.setdefault(section, {})
        if not isinstance(inner, dict):
            raise UserError(f"-s {override}: {'.'.join(sections[: depth + 1])} is a value, not a section")
        place = inner
    try:
        place[last] = _typed(text, _annotation_of(model, [*sections, last]))
    except yaml.YAMLError as error:
        raise UserError(f"-s {override}: the value is not valid YAML: {brief(error)}") from error


def _annotation_of(annotation: Any, keys: Sequence[str]) -> Any:
    """What the model says of a dotted key; None where it has none of that name."""
    for key in keys:
        annotation = _without_none(annotation)
        if _is_section(annotation):
            field = _fields(annotation).get(key)
            annotation = field and field.annotation
        else:
            annotation = (typing.get_args(annotation) or (None,))[-1]
    return annotation


def _typed(text: str, annotation: Any) -> Any:
    """A value of the command line. Where texts are asked for it is one, whatever is in it; else it is YAML.

    A text may be in quotes, several are a list in brackets; nothing, or ``null``, unsets what need not be set.
    """
    whole = _without_none(annotation)
    of_list = typing.get_args(whole)[-1] if typing.get_origin(whole) is list else None
    if not text or (text == "null" and whole is not annotation):
        return None
    if annotation is None:  # an unknown key, which is what will be said
        return text
    if not _is_text(whole) and not _is_text(of_list):
        return yaml_text.load(text, _TypedLoader)
    with contextlib.suppress(yaml.YAMLError):
        if text[0] in "'\"" or (text[0] == "[" and of_list is not None):
            return yaml_text.load(text, _TypedLoader)
    return _Typed(text)


def _is_text(annotation: Any) -> bool:
    choices = typing.get_args(annotation) if typing.get_origin(annotation) is Literal else ()
    return annotation is str or (bool(choices) and all(isinstance(choice, str) for choice in choices))


def _unknown_keys(value: Any, annotation: Any, *, path: str, whole: type[BaseModel]) -> Iterator[str]:
    """Keys that no section of ``annotation`` has, wherever ``value`` nests sections."""
    annotation = _without_none(annotation)
    if _is_section(annotation):
        fields = _fields(annotation)
        for key, inner in value.items() if isinstance(value, Mapping) else ():
            if key in fields:
                yield from _unknown_keys(inner, fields[key].annotation, path=f"{path}{key}.", whole=whole)
            else:
                names = dict.fromkeys([*_dotted_names(whole, ""), *_dotted_names(annotation, path)])
                yield f"{path}{key}: unknown key{_nearest(f'{path}{key}', list(names), whole)}"
    elif typing.get_origin(annotation) in (list, dict):
        items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in items:
            yield from _unknown_keys(inner, typing.get_args(annotation)[-1], path=f"{path}{key}.", whole=whole)


def _without_none(annotation: Any) -> Any:
    """``X`` for ``X | None``, without its checks."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [each for each in typing.get_args(annotation) if each is not type(None)]
        annotation = rest[0] if len(rest) == 1 else annotation
    while typing.get_origin(annotation) is Annotated:
        annotation = annotation.__origin__
    return annotation


def _is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields by the name a user writes."""
    return {field.alias or key: field for key, field in model.model_fields.items()}


def _nearest(dotted: str, names: list[str], whole: type[BaseModel]) -> str:
    last = dotted.rpartition(".")[2]
    match = nearest(dotted, names, cutoff=0.6) or [
        name for name in names if nearest(last, [name.rpartition(".")[2]], cutoff=0.75)
    ]
    return f"; did you mean {match[0]}?" if match else f"; the sections are {', '.join(_fields(whole))}"


def _dotted_names(model: type[BaseModel], path: str) -> Iterator[str]:
    for key, field in _fields(model).items():
        yield f"{path}{key}"
        if _is_section(inner := _without_none(field.annotation)):
            yield from _dotted_names(inner, f"{path}{key}.")
