"""The episodes of an evaluation: drawn, or read again, for each way of asking that has some, and what they show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.config import EvaluateConfig
from clipseg_ray.evaluation.episode_file import EpisodeFile, episode_lines
from clipseg_ray.evaluation.episode_supports import Key, Posed, Vectors, posed, wanted
from clipseg_ray.evaluation.episodes import Episode, Episodes, draw, gallery, times
from clipseg_ray.evaluation.protocols import Asking, Task
from clipseg_ray.evaluation.truth import TruthSet

Drawn = Mapping[tuple[str, Episodes], Sequence[Episode]]
"""By truth set and way of drawing: rows that draw alike have the same, by text and by picture."""


@dataclass(frozen=True, kw_only=True)
class EpisodeSets:
    """``drawn``, and the embeddings of the supports of those that are asked by picture."""

    drawn: Drawn
    vectors: Vectors

    def of(self, task: Task) -> tuple[Mapping[str, Posed], Mapping[str, Mapping[str, int]]]:
        """What ``prepare`` takes for a task with episodes: by query its pictures, and how often each image is asked."""
        assert task.asking.episodes is not None
        episodes = self.drawn[task.truth, task.asking.episodes]
        asked = sorted({each.query_id for each in episodes})
        pictures = posed(episodes, self.vectors) if task.asking.by_picture else {}
        return pictures, {query_id: times(episodes, query_id) for query_id in asked}


def drawn_episodes(config: EvaluateConfig, tasks: Sequence[Task], truth: Mapping[str, TruthSet]) -> Drawn:
    """The episodes of all tasks that have some; truth sets are read once for each.

    Raises UserError where none can be drawn, and for a file of episodes that does not fit.
    """
    wanting = {(task.truth, task.asking.episodes): task for task in tasks if task.asking.episodes is not None}
    settings = config.supports
    if not wanting or settings is None:
        return {}
    file = None if settings.drawn is None else EpisodeFile(settings.drawn)
    found: dict[tuple[str, Episodes], Sequence[Episode]] = {}
    for (name, episodes), task in wanting.items():
        assert episodes is not None
        query_ids = {thing.query_id for thing in task.things}
        asked = gallery(truth[name], query_ids, 0)
        shown = asked
        if (settings.truth, settings.smallest) != (name, 0):
            shown = gallery(truth[settings.truth], query_ids, settings.smallest)
        rows = rows_of(config, name, episodes)
        if file is not None and rows:
            found[name, episodes] = file.of(rows, asked=asked, supports=shown, shots=settings.shots)
        else:
            found[name, episodes] = draw(
                episodes, asked=asked, supports=shown, shots=settings.shots, seed=settings.seed
            )
        if not found[name, episodes]:
            raise UserError(
                f"{', '.join(rows) or name}: no episode can be drawn: no query has {settings.shots + 1} images on "
                f"whose share supports.smallest ({settings.smallest:g}) it is"
            )
    return found


def rows_of(config: EvaluateConfig, truth: str, episodes: Episodes) -> list[str]:
    """The names of the rows that ask some episodes; none where they are for choosing thresholds on another set."""
    return [
        row.name for row in config.rows if row.truth == truth and Asking.of(row, config.supports).episodes == episodes
    ]


def written(config: EvaluateConfig, drawn: Drawn) -> bytes | None:
    """The episodes of all rows as a file; None where no row has any."""
    groups = [(rows_of(config, name, episodes), found) for (name, episodes), found in drawn.items()]
    return episode_lines(group for group in groups if group[0]) or None


def episode_sets(drawn: Drawn, tasks: Iterable[Task], embedded: Callable[[frozenset[Key]], Vectors]) -> EpisodeSets:
    """The drawn episodes with the embeddings that ``embedded`` gives for what those asked by picture show."""
    keys = frozenset[Key]().union(
        *(
            wanted(drawn[task.truth, task.asking.episodes])
            for task in tasks
            if task.asking.by_picture and task.asking.episodes is not None
        )
    )
    return EpisodeSets(drawn=drawn, vectors=embedded(keys) if keys else {})
