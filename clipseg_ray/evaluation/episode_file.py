"""Episodes written down, so that others can repeat them: JSON, a line each.

    {"rows": ["fold 0"], "query_id": "boat", "image_id": "…/val-00000.tar/2007_000033", "image_sha256": "…",
     "supports": [{"image_id": "…", "image_sha256": "…"}]}

``rows`` names the rows of the table that ask it. What counts is the SHA-256 of an image's bytes; ids are for people.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from clipseg_ray import json_text
from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.episodes import Episode, Gallery, Shown
from clipseg_ray.plain_text import text_of
from clipseg_ray.storage import Store, plain_errors

NAME = "evaluation-episodes.jsonl"

Groups = Iterable[tuple[Sequence[str], Sequence[Episode]]]
"""Names of rows, with the episodes that all of them ask."""


def episode_lines(groups: Groups) -> bytes:
    """The file's bytes."""
    lines = [
        json.dumps(
            {
                "rows": list(rows),
                "query_id": each.query_id,
                **_named(each.image),
                "supports": [_named(support) for support in each.supports],
            },
            ensure_ascii=False,
        )
        for rows, episodes in groups
        for each in episodes
    ]
    return "".join(f"{line}\n" for line in lines).encode()


class EpisodeFile:
    """Episodes as they were written at a URL. Raises UserError, naming the line, for what is none."""

    def __init__(self, url: str) -> None:
        self.url = url
        with plain_errors(url):
            data = Store.of(url).get("")
        self._lines = [_parsed(url, number, line) for number, line in enumerate(data.splitlines(), 1) if line.strip()]

    def of(self, rows: Collection[str], *, asked: Gallery, supports: Gallery, shots: int) -> list[Episode]:
        """Those of any of ``rows``, in the file's order.

        Raises UserError where there are none, or one asks for what these images and supports do not have.
        """
        found = [(number, episode) for number, names, episode in self._lines if set(names) & set(rows)]
        if not found:
            raise UserError(f"{self.url}: no episode of {', '.join(rows)}; rows must be named as where it was written")
        known = _known(asked)
        shown = _known(supports)
        for number, episode in found:
            where = f"{self.url}: line {number}"
            if len(episode.supports) != shots:
                raise UserError(f"{where}: {len(episode.supports)} supports, and supports.shots is {shots}")
            if episode.image.sha256 in (support.sha256 for support in episode.supports):
                raise UserError(f"{where}: the image that is asked is its own support; draw again")
            for image, held in ((episode.image, known), *((each, shown) for each in episode.supports)):
                if image.sha256 not in held.get(episode.query_id, ()):
                    raise UserError(
                        f"{where}: no image of the truth with {episode.query_id!r} has the bytes of "
                        f"{image.image_id!r} (SHA-256 {image.sha256[:12]}…); it was drawn from other images"
                    )
        return [episode for _, episode in found]


def _known(images: Gallery) -> dict[str, set[str]]:
    return {query_id: {each.sha256 for each in shown} for query_id, shown in images.items()}


def _named(shown: Shown) -> dict[str, str]:
    return {"image_id": shown.image_id, "image_sha256": shown.sha256}


def _shown(value: Mapping[str, Any]) -> Shown:
    return Shown(str(value["image_sha256"]), str(value["image_id"]))


def _parsed(url: str, number: int, line: bytes) -> tuple[int, list[str], Episode]:
    try:
        value = json_text.load(text_of(line))
        episode = Episode(str(value["query_id"]), _shown(value), tuple(map(_shown, value["supports"])))
        return number, [str(row) for row in value["rows"]], episode
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{url}: line {number}: no episode ({type(error).__name__}: {error})") from error
