"""Composition modes: the table of the ways to make one picture out of a support picture and mask."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipseg_ray.errors import meant

if TYPE_CHECKING:  # a table of queries is checked without waiting for torch
    from torch import Tensor

    from clipseg_ray.queries.canvas import Canvas


@dataclass(frozen=True)
class ModeEntry:
    """One way to compose: the canvas's method, which takes the parameters by name, and their defaults.

    published: whether ``published=1`` composes as CLIPSeg's authors do, to the pixel.
    """

    method: Callable[[Canvas], Callable[..., Tensor]]
    defaults: dict[str, float]
    needs_mask: bool = True
    published: bool = True


MODES = {
    "overlay": ModeEntry(lambda canvas: canvas.blended, {"background": 0.0, "sigma": 0.0}),
    "highlight": ModeEntry(lambda canvas: canvas.blended, {"background": 0.15, "sigma": 0.0}),
    "blur_highlight": ModeEntry(lambda canvas: canvas.softened, {"background": 0.5, "sigma": 1.0}),
    "blur3_highlight": ModeEntry(lambda canvas: canvas.softened, {"background": 0.5, "sigma": 3.0}),
    "blur3_highlight01": ModeEntry(lambda canvas: canvas.softened, {"background": 0.1, "sigma": 3.0}),
    "crop": ModeEntry(lambda canvas: canvas.cropped, {"background": 1.0, "sigma": 1.0, "context": 0.1}),
    "crop_blur_highlight": ModeEntry(lambda canvas: canvas.cropped, {"background": 0.1, "sigma": 3.0, "context": 0.1}),
    "outline_red": ModeEntry(lambda canvas: canvas.outlined, {"width": 5.0}),
    "box_red": ModeEntry(lambda canvas: canvas.boxed, {"width": 5.0, "context": 0.1}, published=False),
    "colourised": ModeEntry(lambda canvas: canvas.colourised, {"background": 1.0}),
    "greyscale": ModeEntry(lambda canvas: canvas.greyscale, {"background": 1.0}, published=False),
    "whole": ModeEntry(lambda canvas: canvas.whole, {}, needs_mask=False, published=False),
}

PUBLISHED = "published"
"""The switch, 0 or 1; a mode has it among its parameters where it is 1, so that others are named as if it were not."""

DEFAULT_MODE = "crop_blur_highlight"

_RANGES = {
    "background": (0.0, 1.0),
    "sigma": (0.0, 15.0),
    "context": (0.0, 10.0),
    "width": (1.0, 99.0),
    PUBLISHED: (0.0, 1.0),
}
_CALL = re.compile(r"\s*([^()\s]+)\s*(?:\((.*)\))?\s*")


@dataclass(frozen=True)
class Mode:
    """A mode with all its parameters resolved. `str` gives the form that `parse_mode` reads."""

    name: str
    parameters: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        inner = ", ".join(f"{name}={value!r}" for name, value in self.parameters)
        return f"{self.name}({inner})" if inner else self.name

    @property
    def needs_mask(self) -> bool:
        """Whether the mode is about a part of the picture."""
        return MODES[self.name].needs_mask

    @property
    def published(self) -> bool:
        """Whether it is to be composed as the authors do, on a ``PublishedCanvas``."""
        return PUBLISHED in dict(self.parameters)

    def compose(self, canvas: Canvas) -> Tensor:
        """What the canvas makes of the mode: float32 [3, S, S]."""
        parameters = {name: value for name, value in self.parameters if name != PUBLISHED}
        return MODES[self.name].method(canvas)(**parameters)


def parse_mode(text: str) -> Mode:
    """A mode from ``name`` or ``name(parameter=value, …)``, e.g. ``crop_blur_highlight(background=0.3)``.

    Raises ValueError, worded for a person, for unknown names and parameters and for values out of range.
    """
    match = _CALL.fullmatch(text)
    name = match[1] if match else text
    if match is None or name not in MODES:
        raise ValueError(f"{name!r} is no mode; {meant(name, MODES, '{!r}')}")
    parameters = dict(MODES[name].defaults) | ({PUBLISHED: 0.0} if MODES[name].published else {})
    for assignment in filter(None, re.split(r"\s*,\s*", (match[2] or "").strip())):
        parameter, _, value = (part.strip() for part in assignment.partition("="))
        if parameter not in parameters:
            raise ValueError(f"mode {name} has no parameter {parameter!r}; {meant(parameter, parameters, '{!r}')}")
        low, high = _RANGES[parameter]
        try:
            parameters[parameter] = float(value)
        except ValueError:
            raise ValueError(f"mode {name}: {parameter}={value} is not a number") from None
        if not low <= parameters[parameter] <= high:
            raise ValueError(f"mode {name}: {parameter}={value} is not between {low:g} and {high:g}")
        if parameter == "width" and parameters[parameter] % 1:
            raise ValueError(f"mode {name}: width={value} is not a whole number of pixels")
        if parameter == PUBLISHED and parameters[parameter] % 1:
            raise ValueError(f"mode {name}: {PUBLISHED}={value} is neither 0 nor 1")
    if parameters.get(PUBLISHED) and parameters.get("width", 5.0) != 5:
        raise ValueError(f"mode {name}: with {PUBLISHED}=1 width is 5, the authors' only one")
    if not parameters.get(PUBLISHED):
        parameters.pop(PUBLISHED, None)
    return Mode(name, tuple(sorted(parameters.items())))
