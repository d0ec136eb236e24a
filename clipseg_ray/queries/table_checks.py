"""Checks of a table, row by row: every fault is collected, none hides another."""

import math
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from clipseg_ray.errors import nearest
from clipseg_ray.plain_text import Unread
from clipseg_ray.queries.columns import COLUMNS
from clipseg_ray.queries.expression import Term, ids, parse
from clipseg_ray.queries.modes import DEFAULT_MODE, Mode, parse_mode
from clipseg_ray.queries.naming import FROM, PHRASE
from clipseg_ray.queries.supports import MaskCell, parse_mask_cells
from clipseg_ray.queries.table_file import TableRows
from clipseg_ray.queries.templates import resolve_templates
from clipseg_ray.written_numbers import is_number

_DEFAULT_ALPHA = 0.5
_AMONG_OTHERS = ("suppress", "group", "expression")
_OWN_WORDS = ("model", "height")  # near mode and weight, but words that tables have for themselves
_OF_PROMPTS = ("text", "template", "templates", "image", "mask", "mode", "alpha")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Fault:
    """One thing wrong: `row` counts from 1 without the header (0: the table as a whole), `column` may be ''."""

    row: int
    column: str
    message: str

    def __str__(self) -> str:
        place = ", ".join(filter(None, (f"row {self.row}" if self.row else "", self.column)))
        return f"{place}: {self.message}" if place else self.message


@dataclass(frozen=True, kw_only=True)
class Draft:
    """One row, checked and resolved but for its pictures.

    alphas: None where nothing is blended; more than one value, or `sweep`, makes one query each. suppress, group,
    weight, expression, keep: as `Query` has them, nobody having looked yet whether the ids are there.
    """

    row: int
    query_id: str | None
    kind: str
    texts: tuple[str, ...]
    templates: tuple[str, ...]
    images: tuple[str, ...]
    masks: tuple[MaskCell, ...]
    mode: Mode | None
    alphas: tuple[float | None, ...]
    sweep: bool
    threshold: float
    concept: tuple[str, ...]
    columns: dict[str, Any]
    suppress: tuple[str, ...]
    group: str | None
    weight: float
    expression: Term | None
    keep: bool

    @property
    def named(self) -> tuple[str, ...]:
        """The ids that the row names, each once."""
        return tuple(dict.fromkeys((*self.suppress, *(ids(self.expression) if self.expression else ()))))


def column_faults(rows: TableRows) -> list[Fault]:
    """Names that are nearly one of the known columns, which would otherwise be silently ignored."""
    faults = []
    for column in rows.columns:
        plain = column.strip().casefold()
        if column in COLUMNS or plain in _OWN_WORDS or plain.startswith(tuple(f"{name}_" for name in COLUMNS)):
            continue
        if near := nearest(plain, COLUMNS, cutoff=0.8):
            faults.append(Fault(0, f"column {column!r}", f"unknown; did you mean {near[0]!r}? (else rename it)"))
    if {"template", "templates"} <= set(rows.columns):
        faults.append(Fault(0, "columns 'template' and 'templates'", "mean the same; keep one of them"))
    return faults


def check_row(
    row: int, values: dict[str, Any], threshold: float, spelt: Collection[str] = ()
) -> tuple[Draft, list[Fault]]:
    """Row number `row` as a draft, with its faults; what is at fault is left out of the draft or has its default.

    `threshold` is the run's, for rows without their own. `spelt`: further columns whose numbers are kept as text.
    """
    faults: list[Fault] = []

    def cell(column: str, parse: Callable[[Any], _T], default: _T) -> _T:
        if column not in values:
            return default
        try:
            return parse(values[column])
        except ValueError as error:
            faults.append(Fault(row, column, str(error)))
            return default

    templates = "templates" if "templates" in values else "template"
    draft = Draft(
        row=row,
        query_id=cell("query_id", _identifier, None),
        kind=cell("kind", _string, "phrase"),
        texts=tuple(cell("text", _strings, [])),
        templates=cell(templates, lambda value: resolve_templates(_strings(value)), resolve_templates(["plain"])),
        images=tuple(cell("image", _strings, [])),
        masks=tuple(cell("mask", parse_mask_cells, [])),
        mode=cell("mode", lambda value: parse_mode(_string(value)), parse_mode(DEFAULT_MODE)),
        alphas=tuple(cell("alpha", _alphas, [])),
        sweep=isinstance(values.get("alpha"), list),
        threshold=cell("threshold", _threshold, threshold),
        concept=tuple(cell("concept", _strings, [])),
        columns={
            column: str(value) if column in spelt and is_number(value) else value
            for column, value in values.items()
            if column not in COLUMNS
        },
        suppress=tuple(cell("suppress", _identifiers, [])),
        group=cell("group", _label, None),
        weight=cell("weight", _weight, 1.0),
        expression=cell("expression", lambda value: parse(_label(value)), None),
        keep=cell("keep", _truth, True),
    )
    for column, value in draft.columns.items():
        if isinstance(value, Unread):
            faults.append(Fault(row, column, f"holds bytes that are no text ({value.why}); or leave the column out"))
    broken = {fault.column for fault in faults}
    faults += [Fault(row, column, message) for column, message in _contradictions(draft, values, broken)]
    return _without_unused(draft), faults


def _contradictions(draft: Draft, values: dict[str, Any], broken: set[str]) -> Iterable[tuple[str, str]]:
    """Faults between columns; silent about columns that are already known to be wrong."""
    given = [column for column in _AMONG_OTHERS if column in values]
    if len(given) > 1:
        yield given[1], f"a row has one of {', '.join(_AMONG_OTHERS)}, this one also {given[0]}; make two rows of it"
    if "weight" in values and "group" not in values:
        yield "weight", "only members of a group have a weight; remove it or add the group"
    if "expression" in values:
        for column in _OF_PROMPTS:
            if column in values:
                yield column, "an expression is made of other queries; give this a row of its own and name that one"
    elif "text" not in values and "image" not in values:
        yield "text", "neither text nor image is given; a query needs one of them"
    if draft.masks and "image" not in values:
        yield "mask", "a mask is given without an image"
    if draft.images and not broken & {"mask", "mode"} and draft.mode is not None:
        if draft.mode.needs_mask and not draft.masks:
            yield "mask", f"mode {draft.mode.name} needs a mask; give one, or set mode to 'whole'"
        elif draft.masks and len(draft.masks) != len(draft.images):
            yield "mask", f"{len(draft.masks)} masks for {len(draft.images)} images; give one each"
    if draft.alphas and not broken & {"text", "image"} and not (draft.texts and draft.images):
        yield "alpha", "blends text and image, but only one of them is given; remove it or add the other"


def _without_unused(draft: Draft) -> Draft:
    """Leave out what no mask depends on: templates without text, a mode without pictures, alpha without both."""
    fields = dict(draft.__dict__)
    if not draft.texts:
        fields["templates"] = ()
    if not draft.images:
        fields["mode"] = None
    elif draft.mode is not None and not draft.mode.needs_mask:
        fields["masks"] = ()
    if not (draft.texts and draft.images):
        fields["alphas"] = (None,)
    elif not draft.alphas:
        fields["alphas"] = (_DEFAULT_ALPHA,)
    return Draft(**fields)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a text, not {_kind(value)}")
    if not value.strip():
        raise ValueError("is empty")
    return value.strip()


def _strings(value: Any) -> list[str]:
    if isinstance(value, list):
        if not value:
            raise ValueError("is an empty list")
        return [_string(item) for item in value]
    if not isinstance(value, str):
        raise ValueError(f"must be a text or a list of texts, not {_kind(value)}")
    return [_string(value)]


def _identifier(value: Any) -> str:
    name = _label(value)
    if name.startswith((FROM, PHRASE)):
        raise ValueError(
            f"{name!r} begins as the ids of phrases do that come with images ({FROM}, {PHRASE}); choose another"
        )
    return name


def _label(value: Any) -> str:
    """A name, of a number how it was written."""
    return str(value) if is_number(value) and math.isfinite(value) else _string(value)


def _identifiers(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError("is an empty list")
    return [_label(item) for item in values]


def _number(value: Any) -> float:
    if not is_number(value):
        raise ValueError(f"must be a number, not {_kind(value)}")
    return float(value)


def _threshold(value: Any) -> float:
    number = _number(value)
    if not 0 < number < 1:
        raise ValueError(f"{number:g} is not between 0 and 1, both excluded")
    return number


def _weight(value: Any) -> float:
    number = _number(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{number:g} is not above 0; a background usually has 3, the others 1")
    return number


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {_kind(value)}")
    return value


def _alphas(value: Any) -> list[float]:
    numbers = [_number(item) for item in value] if isinstance(value, list) else [_number(value)]
    if not numbers:
        raise ValueError("is an empty list")
    for number in numbers:
        if not 0 <= number <= 1 or math.isnan(number):
            raise ValueError(f"{number:g} is not within 0…1 (the share of the image)")
    return numbers


def _kind(value: Any) -> str:
    """What a wrong value is, in words."""
    if isinstance(value, Unread):
        return f"what cannot be read: {value.why}"
    name = {bool: "true or false", int: "number", float: "number", list: "list", dict: "mapping"}.get(type(value))
    shown = re.sub(r"\s+", " ", repr(value))
    return f"{name or ('text' if isinstance(value, str) else type(value).__name__)} {shown[:60]}"
