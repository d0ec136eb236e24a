"""The table of formats of releases: how each is read, and by that which options it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from clipseg_ray.addresses import absolute
from clipseg_ray.errors import UserError, meant
from clipseg_ray.evaluation.releases import coco, lvis, masks, phrasecut, sa_co, voc
from clipseg_ray.evaluation.releases.release import Release

FORMATS: dict[str, Callable[..., Release]] = {
    "phrasecut": phrasecut.read,
    "voc": voc.read,
    "coco": coco.read,
    "lvis": lvis.read,
    "masks": masks.read,
    "sa-co": sa_co.read,
}
PLACES = frozenset({"images", "labels", "classes", "names"})
"""Options that say where something lies; what lies there is in the release's hash."""


def read_release(name: str, source: str, options: Mapping[str, Any]) -> Release:
    """The release of format ``name`` at ``source``; ``options``: keywords of its reader, places as paths or URLs.

    Raises UserError for a format there is not, an option the format has not, and what its reader raises.
    """
    if name not in FORMATS:
        raise UserError(f"there is no format {name}; {meant(name, FORMATS)}")
    read = FORMATS[name]
    known = [option for option in inspect.signature(read).parameters if option != "source"]
    for option in options:
        if option not in known:
            taken = ", ".join(_flag(each) for each in known)
            raise UserError(f"{_flag(option)}: the format {name} has no such option; it has {taken}")
    places = {option: absolute(value) if option in PLACES else value for option, value in options.items()}
    return read(absolute(source), **places)


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"
