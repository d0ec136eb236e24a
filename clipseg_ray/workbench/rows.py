"""What a row of the list may be made into, by the page: columns it may change, and what their values may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from pycocotools import mask as coco_mask

from clipseg_ray.errors import UserError, meant
from clipseg_ray.masks import algebra
from clipseg_ray.queries.expression import Operation, Term, parse, text_of
from clipseg_ray.workbench.pictures import Kept, Pictures

Row = dict[str, Any]
"""One query as the table has it: values by column, absent cells left out."""

LONGEST = 2_000
"""Characters of a text that the page sends."""

SETTABLE = ("query_id", "kind", "text", "alpha", "threshold", "group", "weight", "suppress", "mode")
"""Columns that are set as they are; ``picture`` beside them stands for image and mask."""


def changed(row: Row, changes: Mapping[str, Any], pictures: Pictures) -> Row:
    """The row with these changes, None removing a cell; nobody has looked yet at what they mean together.

    ``picture``: {"id": …} of one that is kept, with a "box" [x, y, w, h] in its pixels, or with "painted" {"size":
    [h, w], "runs": COCO's run lengths as numbers}, or with neither for the whole of it. Raises UserError.
    """
    row = dict(row)
    for column, value in changes.items():
        if column == "picture":
            _set_picture(row, value, pictures)
        elif column not in SETTABLE:
            raise UserError(f"{column}: cannot be set here; {meant(column, (*SETTABLE, 'picture'))}")
        elif value is None or value in ("", []):
            row.pop(column, None)
        else:
            row[column] = _bounded(column, value)
    return row


def without_lone_groups(rows: Sequence[Row]) -> list[Row]:
    """The rows as a table may have them: a group of which there is one member yet is no competition."""
    members = Counter(str(row["group"]) for row in rows if "group" in row)
    return [
        {column: value for column, value in row.items() if column not in ("group", "weight")}
        if members.get(str(row.get("group"))) == 1 and "suppress" not in row
        else row
        for row in rows
    ]


def renamed(row: Row, before: str, after: str) -> Row:
    """The row with every mention of a query under its new name."""
    row = dict(row)
    if "suppress" in row:
        named = row["suppress"] if isinstance(row["suppress"], list) else [row["suppress"]]
        row["suppress"] = [after if str(name) == before else name for name in named]
    if "expression" in row:
        row["expression"] = text_of(
            _mapped(parse(str(row["expression"])), lambda name: after if name == before else name)
        )
    return row


def _mapped(term: Term, name_of: Callable[[str], str]) -> Term:
    if isinstance(term, Operation):
        return Operation(term.operator, tuple(_mapped(operand, name_of) for operand in term.operands))
    return name_of(term)


def _bounded(column: str, value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    if len(values) > LONGEST or any(isinstance(each, str) and len(each) > LONGEST for each in values):
        raise UserError(f"{column}: more than {LONGEST:,} characters; say it in fewer")
    if not all(isinstance(each, str | int | float) for each in values):
        raise UserError(f"{column}: must be a text, a number or a list of them")
    return value


def _set_picture(row: Row, value: Any, pictures: Pictures) -> None:
    for column in ("image", "mask", "mode") if value is None else ("image", "mask"):
        row.pop(column, None)
    if value is None:
        row.pop("alpha", None)
        return
    if not isinstance(value, Mapping) or not isinstance(value.get("id"), str):
        raise UserError("picture: must be the id of a picture that was dropped")
    kept = pictures.of(value["id"])
    row["image"] = kept.cell
    if value.get("box") is not None:
        row["mask"] = _box(value["box"])
    elif value.get("painted") is not None:
        row["mask"] = _painted(value["painted"], kept)
    elif row.get("mode") is None:
        row["mode"] = "whole"
    if "mask" in row and row.get("mode") == "whole":
        row.pop("mode")


def _box(value: Any) -> list[float]:
    if not isinstance(value, list) or len(value) != 4 or not all(isinstance(each, int | float) for each in value):
        raise UserError("picture: a box is [x, y, w, h] in the picture's pixels")
    return [int(each) if float(each).is_integer() else float(each) for each in value]


def _painted(value: Any, kept: Kept) -> dict[str, Any]:
    """What was painted at the size of the screen as COCO's compressed runs of the picture's own size."""
    try:
        height, width = (int(side) for side in value["size"])
        runs = [int(run) for run in value["runs"]]
        if not 0 < height * width <= 2**24 or min(runs) < 0 or sum(runs) != height * width:
            raise ValueError("its runs are not those of its size")
        own = [pa.array([side], pa.int64()) for side in (height, width, kept.height, kept.width)]
        drawn = coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)["counts"]
        counts = algebra.resize(pa.array([drawn.decode()]), *own)[0].as_py()
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"picture: what was painted cannot be read ({error}); paint it again") from error
    return {"size": [kept.height, kept.width], "counts": counts}
