"""The configuration of a refined dataset: what the record of the one it is made from says, and what is to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clipseg_ray.config import RunConfig
from clipseg_ray.errors import UserError
from clipseg_ray.results.record import DatasetRecord

_MAY_CHANGE = ("model.", "pool.", "masks.size", "masks.refine", "masks.heat", "input.decode", "input.part")


def finer_settings(present: DatasetRecord, destination: str, overrides: Sequence[str]) -> RunConfig:
    """The settings of the dataset with this record, but for ``overrides`` (``section.key=value``), to ``destination``.

    Raises UserError where none is given, and for one that has no say in it.
    """
    if not overrides:
        raise UserError(
            "nothing would be finer: give settings, e.g. -s model.views.tiles=2, -s masks.refine=guided or "
            "-s model.checkpoint=NAME"
        )
    if other := [each for each in overrides if not each.strip().startswith(_MAY_CHANGE)]:
        raise UserError(
            f"-s {other[0]}: images, queries and thresholds are those of the dataset that is refined; what may change "
            f"is {', '.join(f'{name}…' for name in _MAY_CHANGE)}"
        )
    other_model = any(each.strip().startswith("model.checkpoint=") for each in overrides)
    return RunConfig.parse(
        {
            "input": {**_without(present.input, "root", "reader"), "url": [present.input["root"]]},
            "output": {"url": destination},
            "model": _without(_model(present), *(["revision"] if other_model else [])),
            "masks": _masks(present.masks),
        },
        overrides,
        source="refine",
    )


def _model(present: DatasetRecord) -> dict[str, Any]:
    views = present.masks.get("views")
    seen = {}
    if views is not None:
        own = {name: views[name] for name in ("tiles", "overlap", "whole", "floor")}
        seen = {"views": {**own, "for": views["only"] or "all"}}
    return {
        "checkpoint": present.model["checkpoint"],
        "revision": present.model["revision"],
        "precision": present.compute["precision"],
        "presence": bool(present.masks.get("presence")),
        **seen,
    }


def _masks(masks: Mapping[str, Any]) -> dict[str, Any]:
    refine = masks.get("refine") or {}
    return {
        "size": masks["size"],
        "heat": masks.get("heat"),
        "refine": refine.get("filter"),
        "refine_radius": refine.get("radius"),
        "refine_epsilon": refine.get("epsilon"),
    }


def _without(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in names}
