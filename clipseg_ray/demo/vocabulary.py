"""The closed vocabulary of the demo's scenes: every query any of them can answer, and what counts as right.

Affordances and attributes have the ids and words of the shipped tables (`builtin:affordances`, `builtin:properties`)
wherever these have such a row, and the paper's bare key ("sit on") as a further text; names have those of
`builtin:coco_objects`.
"""

from __future__ import annotations

from dataclasses import dataclass

from clipseg_ray.demo.world.catalogue import CATALOGUE
from clipseg_ray.demo.world.colours import COLOURS

NAMES = tuple(CATALOGUE)


@dataclass(frozen=True, kw_only=True)
class VocabularyEntry:
    """One query. texts: ways to say it, the first is the query's own.

    What it names: the ``parts`` of all objects if there are any, else the objects whose name is among ``names``, whose
    colour is ``colour`` and whose pattern is ``pattern``; an empty one of these asks for nothing.
    """

    query_id: str
    kind: str
    texts: tuple[str, ...]
    names: frozenset[str] = frozenset()
    colour: str = ""
    pattern: str = ""
    parts: frozenset[str] = frozenset()

    def matches(self, name: str, colour: str, pattern: str) -> bool:
        """Whether a whole object is meant; never for a part."""
        return (
            not self.parts
            and (not self.names or name in self.names)
            and self.colour in ("", colour)
            and self.pattern in ("", pattern)
        )


# Name → (query_id, further texts), where they are not the name itself.
_ALSO = {
    "sofa": ("couch", ("couch",)),
    "glass": ("wine-glass", ("wine glass",)),
    "aeroplane": ("airplane", ("airplane",)),
    "person": ("person", ("a person",)),
    "tree": ("tree", ("a tree",)),
    "bird": ("bird", ("a bird",)),
    "fish": ("fish", ("a fish",)),
}

_AFFORDANCES = {
    "sit-on": ("something to sit on|sit on", "chair sofa bench"),
    "lie-on": ("something to lie down on", "sofa bench"),
    "ride": ("something to ride on|ride on", "horse motorcycle bicycle"),
    "drive": ("something to drive|can be driven", "car bus"),
    "drink-from": ("something to drink from|drink from", "bottle cup glass"),
    "pour-from": ("something to pour from", "bottle teapot"),
    "fill": ("something that can be filled with water|fill", "bottle cup glass bowl teapot"),
    "eat-from": ("something to eat from", "bowl"),
    "cut-with": ("something to cut with|cut with", "knife scissors"),
    "place-on": ("a surface to place items", "table"),
    "store-in": ("somewhere to store away things", "cupboard"),
    "read": ("something to read", "book"),
    "wear-on-head": ("something to wear on the head", "hat"),
    "light-with": ("something that gives light", "lamp"),
    "cross-water-with": ("something to cross water with", "boat"),
    "shelter-under": ("something to take shelter under", "house umbrella"),
    "climb": ("something to climb up", "tree"),
}

_ATTRIBUTES = {
    "flies": ("something that flies|can fly", "bird duck aeroplane"),
    "paper-can-swim": ("can swim|something that can swim", "duck fish boat"),
    "floats": ("something that floats on water", "duck boat"),
    "with-engine": ("something with an engine", "car bus motorcycle aeroplane"),
    "paper-has-wheels": ("has wheels|something that has wheels", "car bus bicycle motorcycle"),
    "paper-has-legs": (
        "has legs|something that has legs",
        "chair sofa bench table horse dog cat bird duck person",
    ),
    "paper-has-ears": ("has ears|something that has ears", "horse dog cat person"),
    "living-creature": ("a living creature", "horse dog cat bird duck fish person"),
    "four-legged": ("an animal with four legs", "horse dog cat"),
    "pet": ("a pet", "dog cat"),
    "feathered-animal": ("an animal with feathers", "bird duck"),
    "water-animal": ("an animal that lives in water", "fish duck"),
    "sharp": ("something sharp that can hurt", "knife scissors"),
}

_PARTS = {
    "wheels": ("the wheels of a vehicle|wheels", "wheel"),
    "legs": ("legs|the legs", "furniture leg|animal leg|person leg"),
    "furniture-legs": ("the legs of a piece of furniture", "furniture leg"),
    "animal-legs": ("the legs of an animal", "animal leg"),
    "handle": ("the handle of a tool or pot|handle", "handle"),
    "roof": ("the roof of a building|roof", "roof"),
    "building-window": ("the window of a building", "building window"),
    "vehicle-windows": ("the windows of a vehicle", "vehicle window"),
    "wings": ("wings|the wings", "aircraft wing|bird wing"),
    "aircraft-wing": ("the wing of an aircraft", "aircraft wing"),
    "bird-wings": ("the wings of a bird", "bird wing"),
    "ears": ("the ears of an animal|ears", "ear"),
    "tail": ("the tail of an animal|tail", "tail"),
    "sail": ("the sail of a boat|sail", "sail"),
    "blade": ("the blade of a knife|blade", "blade"),
    "seat": ("the seat of a chair|seat", "seat"),
    "trunk": ("the trunk of a tree|trunk", "trunk"),
    "crown": ("the crown of a tree|leaves", "crown"),
    "lampshade": ("the shade of a lamp|lampshade", "lampshade"),
}


# Name → (query_id, texts).
_NAMED = {name: (name, (name,)) for name in NAMES} | {
    name: (query_id, (name, *further)) for name, (query_id, further) in _ALSO.items()
}

VOCABULARY = (
    *(
        VocabularyEntry(query_id=query_id, kind="object", texts=texts, names=frozenset([name]))
        for name, (query_id, texts) in _NAMED.items()
    ),
    *(
        VocabularyEntry(
            query_id=f"{colour}-{query_id}",
            kind="coloured object",
            texts=tuple(f"{colour} {text}" for text in texts if not text.startswith("a ")),
            names=frozenset([name]),
            colour=colour,
        )
        for colour in COLOURS
        for name, (query_id, texts) in _NAMED.items()
    ),
    *(
        VocabularyEntry(query_id=query_id, kind=kind, texts=tuple(texts.split("|")), names=frozenset(names.split()))
        for kind, entries in (("affordance", _AFFORDANCES), ("attribute", _ATTRIBUTES))
        for query_id, (texts, names) in entries.items()
    ),
    *(
        VocabularyEntry(query_id=colour, kind="attribute", texts=(f"something {colour}",), colour=colour)
        for colour in ("red", "yellow", "green", "blue")
    ),
    *(
        VocabularyEntry(query_id=pattern, kind="attribute", texts=(f"a {pattern} surface",), pattern=pattern)
        for pattern in ("striped", "chequered", "dotted")
    ),
    *(
        VocabularyEntry(
            query_id=query_id, kind="part", texts=tuple(texts.split("|")), parts=frozenset(parts.split("|"))
        )
        for query_id, (texts, parts) in _PARTS.items()
    ),
)

# One colour and name in eight, spread over both: kept out of training, to see what a model makes of them.
HELD_OUT_PAIRS = frozenset(
    (colour, name)
    for row, colour in enumerate(COLOURS)
    for column, name in enumerate(NAMES)
    if (3 * row + column) % 8 == 5
)
