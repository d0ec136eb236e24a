"""The columns of ``masks`` that only some datasets have: where a setting asks for them.

To add one: an entry here, its setting in ``config``, and what fills it in ``model.stage.FILLERS``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clipseg_ray.results.schema import MASKS, field


@dataclass(frozen=True, kw_only=True)
class OptionalColumn:
    """One of them.

    setting: the configuration's dotted name for it; the dataset's record has its value in section ``masks``, under the
    column's name, and no dataset has the column where that is missing, None or false. check: (column, setting) → (what
    is wrong, bool per row), for ``verify``. refuse: (setting, side of the model's grid) → why it cannot be had.
    """

    field: pa.Field
    setting: str
    check: Callable[[pa.ChunkedArray, Any], tuple[str, Any]]
    refuse: Callable[[Any, int], str | None] = lambda setting, side: None

    @property
    def name(self) -> str:
        """The column's."""
        return self.field.name


def _presence_fault(column: pa.ChunkedArray, _: bool) -> tuple[str, Any]:
    cosine = pc.less_equal(pc.abs(column), 1 + 1e-3)  # rounded, from a length that was rounded
    return "presence is no cosine", pc.invert(pc.fill_null(cosine, False))


def _heat_fault(column: pa.ChunkedArray, side: int) -> tuple[str, Any]:
    other = pc.not_equal(pc.binary_length(column), side**2)
    return f"heat is not {side}×{side}", pc.fill_null(other, False)


def _too_fine(side: int, grid: int) -> str | None:
    return f"{side} is more than the model's grid of {grid}; a quarter of it is enough" if side > grid else None


OPTIONAL = (
    OptionalColumn(
        field=field("presence", pa.float32(), "CLIP's cosine of the whole image and the query (model.presence)"),
        setting="model.presence",
        check=_presence_fault,
    ),
    OptionalColumn(
        field=field(
            "heat",
            pa.large_binary(),
            "probabilities on a square grid, masks.heat cells a side, one byte each, 255 for 1, row by row; null if "
            "all are 0",
            True,
        ),
        setting="masks.heat",
        check=_heat_fault,
        refuse=_too_fine,
    ),
)
"""In the order they stand in, behind the columns every dataset has."""


def recorded(config: Any) -> dict[str, Any]:
    """What the dataset's record has of them, by a ``RunConfig``: all that are on."""
    values = {}
    for column in OPTIONAL:
        section, _, key = column.setting.partition(".")
        values[column.name] = getattr(getattr(config, section), key)
    return {name: value for name, value in values.items() if value}


def settings_of(masks: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the columns a dataset has, by name; ``masks`` is that section of its record."""
    return {column.name: masks[column.name] for column in OPTIONAL if masks.get(column.name)}


def masks_schema(names: Collection[str]) -> pa.Schema:
    """``schema.MASKS`` with the optional columns of these names; other names count for nothing."""
    return pa.schema([*MASKS, *(column.field for column in OPTIONAL if column.name in names)])
