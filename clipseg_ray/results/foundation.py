"""What a run goes by in its dataset, and whether it is still there: somebody may remove or replace an output midway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clipseg_ray.errors import UserError
from clipseg_ray.results import layout, own_files, record, sets
from clipseg_ray.results.record import DatasetRecord
from clipseg_ray.storage import Store, plain_errors


class OutputLost(UserError):
    """The output is not the dataset any more that the run began with."""


@dataclass(frozen=True)
class Foundation:
    """The dataset's record, the names of the run's prompt sets, and the files of the frozen listing, (path, bytes)."""

    record: DatasetRecord
    prompt_sets: tuple[str, ...]
    listing: frozenset[tuple[str, int]]

    @classmethod
    def of(cls, store: Store, made: DatasetRecord, prompt_sets: Sequence[str]) -> Foundation:
        """What is there now, once a plan is settled."""
        return cls(made, tuple(prompt_sets), _listing(store))

    def require(self, store: Store) -> None:
        """Raise OutputLost unless all of it is there. Lists and reads a few small files, whatever the dataset's size;
        what other runs have added since is no matter."""
        lost = []
        with plain_errors(store.url):
            if record.read(store) != self.record:
                lost.append(layout.DATASET)
            lost += sorted(path for path, _ in self.listing - _listing(store))
            claimed = {claim.name for claim in sets.read(store)}
            lost += [f"{layout.SETS} ({name})" for name in self.prompt_sets if name not in claimed]
            tables = own_files.names(store, layout.QUERIES)
            lost += [path for name in self.prompt_sets if (path := layout.queries_file(name)) not in tables]
        if lost:
            raise OutputLost(
                f"{store.url}: the output was removed or replaced while the run went on: what it began with is gone "
                f"({', '.join(lost)}). What the run wrote since is no dataset: remove it and run again, or choose "
                "another output.url"
            )


def _listing(store: Store) -> frozenset[tuple[str, int]]:
    with plain_errors(store.url):
        return frozenset((entry.path, entry.size) for entry in own_files.listed(store, layout.INPUTS))
