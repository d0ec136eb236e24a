"""Every kind of object there is, with the function that draws it and how far it may be turned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clipseg_ray.demo.world import animals, furniture, handy, outdoors, vehicles, vessels
from clipseg_ray.demo.world.sketch import Sketch


@dataclass(frozen=True)
class Kind:
    """draw: adds one variant of the object, facing right, to an empty sketch. turn: greatest rotation, degrees."""

    draw: Callable[[Sketch, np.random.Generator], None]
    turn: float = 8


CATALOGUE: dict[str, Kind] = {
    "chair": Kind(furniture.chair),
    "sofa": Kind(furniture.sofa),
    "bench": Kind(furniture.bench),
    "table": Kind(furniture.table),
    "cupboard": Kind(furniture.cupboard),
    "lamp": Kind(furniture.lamp, 10),
    "bottle": Kind(vessels.bottle, 25),
    "cup": Kind(vessels.cup, 15),
    "glass": Kind(vessels.glass, 20),
    "bowl": Kind(vessels.bowl, 12),
    "teapot": Kind(vessels.teapot, 15),
    "car": Kind(vehicles.car, 10),
    "bus": Kind(vehicles.bus),
    "bicycle": Kind(vehicles.bicycle, 10),
    "motorcycle": Kind(vehicles.motorcycle, 14),
    "aeroplane": Kind(vehicles.aeroplane, 28),
    "boat": Kind(vehicles.boat, 12),
    "horse": Kind(animals.horse, 10),
    "dog": Kind(animals.dog, 10),
    "cat": Kind(animals.cat, 10),
    "bird": Kind(animals.bird, 20),
    "duck": Kind(animals.duck, 12),
    "fish": Kind(animals.fish, 25),
    "person": Kind(animals.person),
    "tree": Kind(outdoors.tree, 6),
    "house": Kind(outdoors.house, 5),
    "umbrella": Kind(outdoors.umbrella, 30),
    "knife": Kind(handy.knife, 180),
    "scissors": Kind(handy.scissors, 180),
    "hat": Kind(handy.hat, 18),
    "book": Kind(handy.book, 20),
}
