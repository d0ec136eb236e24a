"""What a listing comes upon and leaves out: hidden names, links to nothing, outputs of clipseg-ray."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from clipseg_ray.pixels.kinds import has_ending

DATASET = "_dataset.json"
"""By which an output of ours is known."""

DANGLING, HIDDEN = "broken links", "hidden files"


@dataclass
class LeftOut:
    """Paths below the folder that was listed. ``datasets``: the folders of outputs; ``outputs``: what lies in them."""

    hidden: list[str] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    datasets: set[str] = field(default_factory=set)
    outputs: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether anything was."""
        return bool(self.hidden or self.dangling or self.outputs)

    def takes(self, path: str) -> bool:
        """Whether a path lies in an output and is left out for that; asked once all has been listed."""
        if self._dataset_above(path) is None:
            return False
        self.outputs.append(path)
        return True

    def counts(self, endings: tuple[str, ...]) -> Counter[str]:
        """How many of each kind have one of these ``endings``; of links to nothing all.

        Resource forks, which macOS writes beside every file, are nothing that anybody misses.
        """
        found: Counter[str] = Counter()
        for path in self._outside(self.hidden):
            *folders, name = path.split("/")
            if has_ending(name, endings) and not name.startswith("._"):
                folder = next((each for each in folders if is_hidden(each)), "")
                found[f"in {folder}/" if folder else HIDDEN] += 1
        for path in self.outputs:
            if has_ending(path, endings):
                found[f"in {self._dataset_above(path)}/, an output of clipseg-ray"] += 1
        if dangling := sum(1 for _ in self._outside(self.dangling)):
            found[DANGLING] = dangling
        return found

    def _outside(self, paths: Iterable[str]) -> Iterable[str]:
        return (path for path in paths if self._dataset_above(path) is None)

    def _dataset_above(self, path: str) -> str | None:
        while self.datasets and "/" in path:
            path = path.rpartition("/")[0]
            if path in self.datasets:
                return path
        return None


def is_hidden(name: str) -> bool:
    """Whether a folder of this name is passed over."""
    return name.startswith((".", "_"))
