"""Mask algebra as DuckDB functions: ``mask_iou(a.counts, b.counts)`` and the rest, vectorised over Arrow.

    con = duckdb.connect()
    clipseg_ray.register(con)

Their names, arguments and results are in ``FUNCTIONS``; what they compute in :mod:`clipseg_ray.masks.algebra`,
:mod:`~clipseg_ray.masks.regions`, :mod:`~clipseg_ray.masks.morphology`, :mod:`~clipseg_ray.masks.outlines` and
:mod:`~clipseg_ray.masks.moving`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from inspect import Parameter, Signature
from typing import Any

import duckdb
from duckdb.func import ARROW, SPECIAL


@dataclass(frozen=True)
class Function:
    """A SQL function: ``made_by`` names what computes it in ``masks``, ``parameters`` are (name, SQL type) pairs."""

    made_by: str
    parameters: tuple[tuple[str, str], ...]
    returns: str

    def signature(self, name: str) -> str:
        """``mask_area(counts VARCHAR) → BIGINT``."""
        return f"{name}({', '.join(' '.join(parameter) for parameter in self.parameters)}) → {self.returns}"


def _sized(*names: str) -> tuple[tuple[str, str], ...]:
    return (("counts", "VARCHAR"), *((name, "BIGINT") for name in names))


def _by(distance: str) -> tuple[tuple[str, str], ...]:
    return (*_sized("height"), (distance, "DOUBLE"))


_PAIR = (("a", "VARCHAR"), ("b", "VARCHAR"))
_HEAT = (("heat", "BLOB"), ("height", "BIGINT"), ("width", "BIGINT"), ("threshold", "DOUBLE"))
_BOX = "STRUCT(x INTEGER, y INTEGER, w INTEGER, h INTEGER)"
_COMPONENTS = f"STRUCT(counts VARCHAR, area BIGINT, bbox {_BOX})[]"

FUNCTIONS: dict[str, Function] = {
    "mask_area": Function("algebra.area", (("counts", "VARCHAR"),), "BIGINT"),
    "mask_bbox": Function("algebra.bbox", _sized("height"), _BOX),
    "mask_centroid": Function("algebra.centroid", _sized("height"), "STRUCT(x DOUBLE, y DOUBLE)"),
    "mask_iou": Function("algebra.iou", _PAIR, "DOUBLE"),
    "mask_overlap": Function("algebra.overlap", _PAIR, "BIGINT"),
    "mask_union": Function("algebra.union", _PAIR, "VARCHAR"),
    "mask_intersection": Function("algebra.intersection", _PAIR, "VARCHAR"),
    "mask_difference": Function("algebra.difference", _PAIR, "VARCHAR"),
    "mask_xor": Function("algebra.xor", _PAIR, "VARCHAR"),
    "mask_complement": Function("algebra.complement", (("counts", "VARCHAR"),), "VARCHAR"),
    "mask_union_all": Function("algebra.union_all", (("list_of_counts", "VARCHAR[]"),), "VARCHAR"),
    "mask_box_coverage": Function("algebra.box_coverage", _sized("height", "x", "y", "w", "h"), "DOUBLE"),
    "mask_resize": Function("algebra.resize", _sized("height", "width", "new_height", "new_width"), "VARCHAR"),
    "mask_crop": Function("algebra.crop", _sized("height", "x", "y", "w", "h"), "VARCHAR"),
    "mask_components": Function("regions.components", _sized("height", "min_area"), _COMPONENTS),
    "mask_components_4": Function("regions.components_4", _sized("height", "min_area"), _COMPONENTS),
    "mask_fill_holes": Function("regions.fill_holes", _sized("height"), "VARCHAR"),
    "mask_dilate": Function("morphology.dilate", _by("radius"), "VARCHAR"),
    "mask_erode": Function("morphology.erode", _by("radius"), "VARCHAR"),
    "mask_open": Function("morphology.opening", _by("radius"), "VARCHAR"),
    "mask_close": Function("morphology.closing", _by("radius"), "VARCHAR"),
    "mask_boundary": Function("morphology.boundary", _by("distance"), "VARCHAR"),
    "mask_border_iou": Function(
        "morphology.border_iou", (*_PAIR, ("height", "BIGINT"), ("distance", "DOUBLE")), "DOUBLE"
    ),
    "mask_distance": Function("morphology.distance", (*_PAIR, ("height", "BIGINT")), "DOUBLE"),
    "mask_polygons": Function("outlines.polygons", _by("tolerance"), "DOUBLE[][]"),
    "mask_wkt": Function("outlines.wkt", _by("tolerance"), "VARCHAR"),
    "mask_decode": Function("algebra.pixels", _sized("height", "width"), "BLOB"),
    "mask_rethreshold": Function("moving.rethreshold", _HEAT, "VARCHAR"),
}
"""Every function by its SQL name.

A null argument gives null, but a null ``heat`` is a map of zeros. Two masks of a row must be of one size.
"""


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Make every function of ``FUNCTIONS`` known to a DuckDB connection; doing it again changes nothing."""
    known = {row[0] for row in connection.execute("SELECT function_name FROM duckdb_functions()").fetchall()}
    for name, function in FUNCTIONS.items():
        if name not in known:
            connection.create_function(
                name,
                _call(function),
                [duckdb.type(kind) for _, kind in function.parameters],
                function.returns,
                type=ARROW,
                null_handling=SPECIAL,
            )


def _call(function: Function) -> Callable[..., Any]:
    def call(*columns: Any) -> Any:
        # Compiled code: half a second that plain SQL need not wait for.
        module, _, name = function.made_by.partition(".")
        return getattr(import_module(f"clipseg_ray.masks.{module}"), name)(*columns)

    named = [Parameter(name, Parameter.POSITIONAL_ONLY) for name, _ in function.parameters]
    call.__signature__ = Signature(named)  # type: ignore[attr-defined]  # DuckDB counts the parameters
    return call
