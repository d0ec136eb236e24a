"""YAML as settings and query tables may be written: the core schema of YAML 1.2, and nothing that is read in two ways.

``yes``, ``on`` and dates are texts. Refused, each with its line: a key that is there twice, numbers that begin with 0
(octal to some readers), numbers with colons (base 60 to some), aliases, tags beyond the core's, more nodes or levels
than any settings have.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

import yaml

from clipseg_ray.written_numbers import written

DEPTH = 50
NODES = 200_000
"""Keys and values of a text: a table of twenty thousand queries has about as many."""

_TAG = "tag:yaml.org,2002:"
_DIGITS = list("-+0123456789")
_CORE = {
    "null": (r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    "bool": (r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    "int": (r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", _DIGITS),
    "float": (
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        [*_DIGITS, "."],
    ),
}
"""The plain scalars that are no text (YAML 1.2.2, 10.3.2): a pattern, and what they begin with. The first one holds."""

_OCTAL = re.compile(r"[-+]?0o?[0-9_]+")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")


class Loader(yaml.SafeLoader):
    """What ``load`` reads with: settings and tables are written out, and what is not may grow to any size."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (as PyYAML has it)
    yaml_constructors: ClassVar[dict[Any, Any]] = {}

    number: Callable[[float, str], float] = staticmethod(lambda value, _: value)
    """What a number becomes, given how it was written."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node, unless it is an alias, one too many or too deep, or a number that is read in two ways."""
        event = self.peek_event()
        mark = event.start_mark
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not read; write the value out", mark)
        if isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
            _refuse_ambiguous(event.value, mark)
        self._nodes += 1
        self._depth += 1
        if self._nodes > NODES:
            raise yaml.composer.ComposerError(None, None, f"more than {NODES} keys and values", mark)
        if self._depth > DEPTH:
            raise yaml.composer.ComposerError(None, None, f"nested deeper than {DEPTH} levels", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """The mapping, unless it has a key twice."""
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            key, mark = self.construct_object(key_node, deep=True), key_node.start_mark
            if isinstance(key, list | dict):
                raise yaml.constructor.ConstructorError(None, None, "a list or mapping is no key", mark)
            if key in lines:
                said = f"the key {key!r} is there twice, in line {lines[key]} too; keep one"
                raise yaml.constructor.ConstructorError(None, None, said, mark)
            lines[key] = mark.line + 1
        return yaml.constructor.BaseConstructor.construct_mapping(self, node, deep)


class WrittenLoader(Loader):
    """YAML whose numbers know how they were written (``written_numbers``)."""

    number = staticmethod(written)


class Dumper(yaml.SafeDumper):
    """What ``dump`` writes with: a text that any reader of YAML, 1.1 or 1.2, takes for something else is quoted."""


def load(text: str, loader: type[Loader] = Loader) -> Any:
    """The text's one document as plain data. Raises ``yaml.YAMLError`` for all that it is not."""
    try:
        return yaml.load(text, loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(filter(None, (error.context, error.problem)))
        raise yaml.YAMLError(f"line {mark.line + 1}: {said}" if mark else said) from error
    except (ValueError, OverflowError, RecursionError) as error:  # a number of too many digits
        raise yaml.YAMLError(str(error)) from error


def dump(value: Any) -> str:
    """Plain data as YAML that reads the same everywhere, keys in their order."""
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True)


def _refuse_ambiguous(text: str, mark: Any) -> None:
    said = ""
    if _OCTAL.fullmatch(text) and text != "0":
        decimal = text.lstrip("+-0o_").replace("_", "") or "0"
        said = f"{text} begins with 0, which is octal to some; write {decimal}, or '{text}' in quotes for a text"
    elif _BASE_60.fullmatch(text):
        said = f"{text} is a number in base 60 to some; write it in quotes, '{text}', or as the number that is meant"
    if said:
        raise yaml.composer.ComposerError(None, None, said, mark)


def _integer(loader: Loader, node: Any) -> Any:
    text = _matching(loader, node, "int")
    return loader.number(int(text, 16 if text.startswith("0x") else 10), text)


def _number(loader: Loader, node: Any) -> Any:
    text = _matching(loader, node, "float")
    plain = text.lower()
    return loader.number(float(plain.replace(".inf", "inf").replace(".nan", "nan")), text)


def _matching(loader: Loader, node: Any, kind: str) -> str:
    text = str(loader.construct_scalar(node))
    _refuse_ambiguous(text, node.start_mark)
    if not re.fullmatch(_CORE[kind][0], text) and not (kind == "float" and re.fullmatch(_CORE["int"][0], text)):
        raise yaml.constructor.ConstructorError(None, None, f"{text} is no {node.tag[len(_TAG) :]}", node.start_mark)
    return text


def _truth(loader: Loader, node: Any) -> bool:
    return _matching(loader, node, "bool").lower() == "true"


for _kind, (_pattern, _first) in _CORE.items():
    for _class in (Loader, Dumper):
        _class.add_implicit_resolver(_TAG + _kind, re.compile(f"^{_pattern}$"), _first)
Loader.yaml_constructors |= {
    _TAG + "null": Loader.construct_yaml_null,
    _TAG + "bool": _truth,
    _TAG + "int": _integer,
    _TAG + "float": _number,
    _TAG + "str": Loader.construct_yaml_str,
    _TAG + "seq": Loader.construct_yaml_seq,
    _TAG + "map": Loader.construct_yaml_map,
    None: Loader.construct_undefined,
}
