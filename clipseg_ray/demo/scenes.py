"""Procedural scenes that know what is where: objects on cluttered grounds, with every query's true mask.

    from clipseg_ray.demo.scenes import scene
    scene(7).truth

The seed decides everything. Masks are those of pixels at least half covered, what is in front hiding what is behind.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from clipseg_ray.demo.vocabulary import HELD_OUT_PAIRS, NAMES, VOCABULARY
from clipseg_ray.demo.world import clutter, colours, patterns
from clipseg_ray.demo.world.catalogue import CATALOGUE
from clipseg_ray.demo.world.grounds import ground
from clipseg_ray.demo.world.raster import Cutout, Pose, render
from clipseg_ray.demo.world.sketch import Sketch
from clipseg_ray.demo.world.weather import jpeg, weathered

SIDE = 352
"""Pixels of a scene's side unless another is asked for: CLIPSeg's own."""
SMALLEST_SIDE = 64
"""On less, hardly anything drawn shows ``SMALLEST_VISIBLE`` pixels."""
SMALLEST_VISIBLE = 15  # pixels; of what shows less, nobody can say what it is

_SEEN_PAIRS = tuple((c, n) for n in NAMES for c in colours.COLOURS if (c, n) not in HELD_OUT_PAIRS)
_UNSEEN_PAIRS = tuple((c, n) for n in NAMES for c in colours.COLOURS if (c, n) in HELD_OUT_PAIRS)
_COUNTS = (0.2, 0.26, 0.26, 0.17, 0.11)  # of scenes with 1…5 objects
_COVERABLE = 0.4  # of an object's box, at most, lies under boxes in front of it


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One visible object. mask_hw: bool [h, w]. parts: visible pixels of each part, bool [h, w], never empty."""

    name: str
    colour: str
    pattern: str
    mask_hw: np.ndarray
    parts: dict[str, np.ndarray]

    @property
    def bbox(self) -> tuple[int, int, int, int]:
        """x, y, width, height of the mask's box in pixels."""
        rows, columns = np.flatnonzero(self.mask_hw.any(1)), np.flatnonzero(self.mask_hw.any(0))
        return (
            int(columns[0]),
            int(rows[0]),
            int(columns[-1] - columns[0] + 1),
            int(rows[-1] - rows[0] + 1),
        )


@dataclass(frozen=True)
class DrawnTruth:
    """A query and its true mask (bool [h, w], not empty)."""

    query_id: str
    kind: str
    texts: tuple[str, ...]
    mask_hw: np.ndarray


@dataclass(frozen=True, kw_only=True)
class DrawnScene:
    """pixels_hwc: uint8 [h, w, 3], exactly what ``jpeg`` decodes to. truth: in the vocabulary's order; what is not
    listed is absent. instances: from back to front."""

    pixels_hwc: np.ndarray
    jpeg: bytes
    ground: str
    instances: tuple[Instance, ...]
    truth: tuple[DrawnTruth, ...]


@dataclass(frozen=True)
class _Plan:
    name: str
    colour: str
    size: float


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """A cutout with its upper left corner (may be outside the image); ``plan`` is None for clutter."""

    cutout: Cutout
    top: int
    left: int
    plan: _Plan | None = None
    pattern: str = ""


def scene(seed: int, side: int = SIDE, *, held_out_pairs: bool = False) -> DrawnScene:
    """The scene of this seed, ``side`` × ``side`` pixels.

    held_out_pairs: at least one object is of a colour and name in ``HELD_OUT_PAIRS``; otherwise none is.
    """
    rng = np.random.default_rng(seed)
    name, canvas_hwc = ground(rng, side)
    layers = [*_clutter(rng, side), *_objects(rng, side, held_out_pairs)]
    if rng.random() < 0.15:
        layers.append(_post(rng, side))
    owner_hw = np.full((side, side), -1, np.int8)
    for number, layer in enumerate(layers):
        _paste(canvas_hwc, owner_hw, number, layer)
    instances = tuple(_instances(owner_hw, layers))
    encoded = jpeg(rng, weathered(rng, canvas_hwc))
    pixels_hwc = np.asarray(Image.open(io.BytesIO(encoded)))
    return DrawnScene(
        pixels_hwc=pixels_hwc, jpeg=encoded, ground=name, instances=instances, truth=tuple(true_masks(instances))
    )


def _clutter(rng: np.random.Generator, side: int) -> Iterator[_Placed]:
    for _ in range(rng.integers(0, 7)):
        sketch = Sketch()
        clutter.thing(sketch, rng)
        pose = Pose(size=side * rng.uniform(0.04, 0.16), turn=rng.uniform(-180, 180))
        cutout = render(rng, sketch, pose, body=np.zeros(3), pattern="plain")
        top, left = rng.integers(-side // 20, side - side // 20, 2)
        yield _Placed(cutout=cutout, top=int(top), left=int(left))


def _post(rng: np.random.Generator, side: int) -> _Placed:
    """Something thin in front of everything."""
    sketch = Sketch()
    clutter.bar(sketch, rng)
    pose = Pose(size=side * 1.2, turn=rng.choice((0, 90)) + rng.uniform(-12, 12))
    cutout = render(rng, sketch, pose, body=np.zeros(3), pattern="plain")
    height, width = cutout.cover_hw.shape
    top, left = (int(rng.uniform(min(0, side - extent), max(0, side - extent))) for extent in (height, width))
    return _Placed(cutout=cutout, top=top, left=left)


def _plans(rng: np.random.Generator, side: int, held_out_pairs: bool) -> list[_Plan]:
    """The objects from large to small: small ones stand in front."""
    count = 1 + int(rng.choice(len(_COUNTS), p=_COUNTS))
    largest = (0.7, 0.66, 0.58, 0.52, 0.46)[count - 1]
    sizes = sorted(0.08 + (largest - 0.08) * rng.beta(2.6, 1.6, count))[::-1]
    plans: list[_Plan] = []
    for size in sizes:
        colour, name = _SEEN_PAIRS[rng.integers(len(_SEEN_PAIRS))]
        if plans and (chance := rng.random()) < 0.3:
            # The same name in another colour, or another name in the same: words alone must tell them apart.
            like = plans[rng.integers(len(plans))]
            pair = (colour, like.name) if chance < 0.18 else (like.colour, name)
            colour, name = (colour, name) if pair in HELD_OUT_PAIRS else pair
        plans.append(_Plan(name, colour, size * side))
    if held_out_pairs:
        colour, name = _UNSEEN_PAIRS[rng.integers(len(_UNSEEN_PAIRS))]
        index = int(rng.integers(count))
        plans[index] = _Plan(name, colour, max(plans[index].size, 0.15 * side))
    return plans


def _objects(rng: np.random.Generator, side: int, held_out_pairs: bool) -> Iterator[_Placed]:
    boxes: list[tuple[int, int, int, int]] = []
    covered: list[float] = []
    for plan in _plans(rng, side, held_out_pairs):
        sketch, pattern = Sketch(), patterns.pick(rng, plan.size)
        kind = CATALOGUE[plan.name]
        kind.draw(sketch, rng)
        # A pattern hides the drawing beneath unless its parts have contours.
        bare = pattern in ("plain", "shaded") and rng.random() < 0.55
        line = 0.0 if bare else rng.uniform(0.5, 1.1)
        pose = Pose(
            size=plan.size,
            turn=rng.uniform(-kind.turn, kind.turn),
            lean=rng.uniform(-0.12, 0.12),
            left=bool(rng.random() < 0.5),
            stretch=rng.uniform(0.86, 1.16),
            line=line,
        )
        cutout = render(rng, sketch, pose, body=colours.pick(rng, plan.colour), pattern=pattern)
        height, width = cutout.cover_hw.shape
        slack = 0.12 if rng.random() < 0.2 else 0.0
        best, at = np.inf, (0, 0)
        for _ in range(10):
            top, left = (
                int(rng.uniform(-slack * extent, max(1, side - extent * (1 - slack)))) for extent in (height, width)
            )
            over = [_overlap(box, (top, left, height, width)) for box in boxes]
            worst = max((have + more for have, more in zip(covered, over, strict=True)), default=0.0)
            if worst < best and (worst > _COVERABLE * 0.5 or rng.random() < 0.5 or best == np.inf):
                best, at = worst, (top, left)
        if best > _COVERABLE and (plan.colour, plan.name) not in HELD_OUT_PAIRS:
            continue
        front = (*at, height, width)
        covered = [*(have + _overlap(box, front) for have, box in zip(covered, boxes, strict=True)), 0.0]
        boxes.append(front)
        yield _Placed(cutout=cutout, top=at[0], left=at[1], plan=plan, pattern=pattern)


def _overlap(box: tuple[int, int, int, int], front: tuple[int, int, int, int]) -> float:
    """The share of ``box`` (top, left, height, width) under ``front``."""
    down = min(box[0] + box[2], front[0] + front[2]) - max(box[0], front[0])
    across = min(box[1] + box[3], front[1] + front[3]) - max(box[1], front[1])
    return max(0, down) * max(0, across) / (box[2] * box[3])


def _windows(layer: _Placed, side: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where the cutout lies in the image, and which of its own pixels these are."""
    height, width = layer.cutout.cover_hw.shape
    there, own = [], []
    for start, extent in ((layer.top, height), (layer.left, width)):
        low, high = max(0, start), max(0, min(side, start + extent))
        there.append(slice(low, high))
        own.append(slice(low - start, max(low, high) - start))
    return (there[0], there[1]), (own[0], own[1])


def _paste(canvas_hwc: np.ndarray, owner_hw: np.ndarray, number: int, layer: _Placed) -> None:
    there, own = _windows(layer, len(owner_hw))
    canvas_hwc[there] *= 1 - layer.cutout.cover_hw[own][..., None]
    canvas_hwc[there] += layer.cutout.colour_hwc[own]
    owner_hw[there][layer.cutout.inside_hw[own]] = number


def _instances(owner_hw: np.ndarray, layers: list[_Placed]) -> Iterator[Instance]:
    for number, layer in enumerate(layers):
        mask_hw, plan = owner_hw == number, layer.plan
        if plan is None or np.count_nonzero(mask_hw) < SMALLEST_VISIBLE:
            continue
        there, own = _windows(layer, len(owner_hw))
        parts = {}
        for part, part_hw in layer.cutout.parts.items():
            full_hw = np.zeros_like(mask_hw)
            full_hw[there] = part_hw[own]
            full_hw &= mask_hw
            if full_hw.any():
                parts[part] = full_hw
        yield Instance(name=plan.name, colour=plan.colour, pattern=layer.pattern, mask_hw=mask_hw, parts=parts)


def true_masks(instances: Sequence[Instance]) -> Iterator[DrawnTruth]:
    """Every query of the vocabulary that these hold, with its true mask."""
    for entry in VOCABULARY:
        if entry.parts:
            masks = [mask for thing in instances for part, mask in thing.parts.items() if part in entry.parts]
        else:
            masks = [thing.mask_hw for thing in instances if entry.matches(thing.name, thing.colour, thing.pattern)]
        mask_hw = np.logical_or.reduce(masks)  # of no masks: False
        if np.count_nonzero(mask_hw) >= SMALLEST_VISIBLE:
            yield DrawnTruth(entry.query_id, entry.kind, entry.texts, mask_hw=mask_hw)
