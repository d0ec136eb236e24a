"""Views of an image: itself as a whole, and tiles of it at a larger side, each as large as what the model takes.

For a model of S×S pixels an image is squashed to T×T besides, T = tiles · S, and windows of S×S are cut from that.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

MOST_TILES = 4
AUTO_TILES = 3
"""At most, where ``auto`` chooses: 4 costs fifty passes an image and is asked for by number."""
_RULE = "the most tiles a side, up to this, with tiles²·S² pixels ≤ width·height"


@dataclass(frozen=True, kw_only=True)
class Views:
    """How images are looked at.

    tiles: a side is cut into so many, or into fewer where the image has too few pixels: it is never enlarged.
    ``auto``: into up to AUTO_TILES. overlap: of neighbouring windows, as a share of their side. whole: whether the
    whole image counts for half of every answer. only: which (image, query) are seen in tiles, None for all: those
    whose greatest probability in the whole image (``found``), or whose CLIP cosine (``present``), is above ``floor``.
    The others have the whole's logits, enlarged to the same grid.
    """

    tiles: int | Literal["auto"]
    overlap: float
    whole: bool
    only: Literal["found", "present"] | None = None
    floor: float | None = None

    @property
    def most(self) -> int:
        """Tiles a side of a large image."""
        return AUTO_TILES if self.tiles == "auto" else self.tiles

    def tiles_of(self, width: int, height: int, size: int) -> int:
        """Tiles a side of an image of so many pixels, for a model of ``size``: 1 where only the whole is seen."""
        return max(1, min(self.most, math.isqrt(width * height) // size))

    def starts(self, tiles: int, size: int) -> list[int]:
        """Where the n windows along a side of tiles · size pixels begin; there are n² in all."""
        last = self._along(tiles) - 1
        return [round(number * (tiles - 1) * size / max(last, 1)) for number in range(last + 1)]

    def passes(self, tiles: int) -> tuple[int, int]:
        """How often an image is encoded, and decoded with every query."""
        windows = self._along(tiles) ** 2
        return (1, 1) if tiles == 1 else (windows + 1, windows + self.whole)

    def words(self) -> str:
        """What they multiply, for a plan."""
        costs = {tiles: "{} encodes and {} decodes".format(*self.passes(tiles)) for tiles in range(2, self.most + 1)}
        fewer = [f"{costs[tiles]} where its pixels suffice for {tiles} only" for tiles in range(self.most - 1, 1, -1)]
        small = "1 and 1 where they suffice for no tiles"
        text = f"tiles {self.tiles}: {costs[self.most]} an image; {', '.join([*fewer, small])}"
        if self.only is None:
            return text
        by = "score" if self.only == "found" else "presence"
        return f"{text}; at most: queries whose {by} in the whole is not above {self.floor:g} are decoded once"

    def image_bytes(self, size: int) -> int:
        """Of a decoded image, at most."""
        return 3 * size**2 * (1 + self.most**2)

    def recorded(self) -> dict[str, Any]:
        """What a dataset's record has of them."""
        encodes, decodes = self.passes(self.most)
        return {**asdict(self), "most": self.most, "encodes": encodes, "decodes": decodes, "rule": _RULE}

    @classmethod
    def from_record(cls, values: dict[str, Any] | None) -> Views | None:
        """The inverse of ``recorded``; None for None."""
        if values is None:
            return None
        return cls(**{field.name: values[field.name] for field in fields(cls)})

    def _along(self, tiles: int) -> int:
        return math.ceil(round((tiles - 1) / (1 - self.overlap), 6)) + 1


def side_of(views: Views | None, width: int, height: int, size: int) -> int:
    """Pixels of the side of an image's mask grid, for a model of ``size``."""
    return size if views is None else size * views.tiles_of(width, height, size)
