"""Photos asked on this machine, at once: what was found, and something to look at."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow.compute as pc

from clipseg_ray.addresses import absolute, without_query
from clipseg_ray.errors import UserError
from clipseg_ray.inference.images import ReadImages
from clipseg_ray.inference.prediction import Prediction, called
from clipseg_ray.inference.predictor import Predictor
from clipseg_ray.model import drawn_scenes
from clipseg_ray.queries.inspection import changed, count_tokens, warnings
from clipseg_ray.queries.table import load_queries
from clipseg_ray.storage import Store, plain_errors
from clipseg_ray.trial import page
from clipseg_ray.trial.wishes import Wishes

_PICTURE, _PAGES = ".png", (".html", ".htm")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One query on one photo. score: the greatest probability. coverage: the mask's share of the photo; 0 if empty."""

    photo: str
    query: str
    score: float
    coverage: float


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of it.

    answers: photo by photo, in the order of the queries. written: where overlays or the page lie. unread: photos that
    could not be read, and why. notes: what to know of model and prompts.
    """

    answers: tuple[Answer, ...]
    written: tuple[str, ...]
    unread: tuple[str, ...]
    notes: tuple[str, ...]


def attempt(wishes: Wishes, destination: str | None) -> Trial:
    """Ask the photos; write an overlay of each, or one page with all.

    destination: a ``.png`` file (of several photos one each, with their names), a ``.html`` page, or None for
    ``<photo>-overlay.png`` in the working directory. Raises UserError where nothing can be asked, and where no photo
    can be read.
    """
    as_page = destination is not None and destination.lower().endswith(_PAGES)
    if destination is not None and not as_page and not destination.lower().endswith(_PICTURE):
        raise UserError(f"-o {destination}: name it {_PICTURE} for an overlay, or {_PAGES[0]} for a page with a slider")
    model, masks = wishes.settings.model, wishes.settings.masks
    table = load_queries(wishes.table, None, masks.threshold) if wishes.table else []
    predictor = Predictor(
        model.checkpoint,
        model.revision,
        device=model.device,
        precision=model.precision,
        views=model.views,
        refine=masks.refine,
        refine_radius=masks.refine_radius,
        refine_epsilon=masks.refine_epsilon,
    )
    queries = predictor.queries([*table, *wishes.prompts], masks.threshold)
    read = predictor.read(wishes.photos)
    if not len(read.pixels):
        read.require()
    predictor.set_images(read)
    caution = drawn_scenes.caution(model.checkpoint, wishes.photos)
    notes = [caution] if caution else []
    notes += [*changed(queries), *warnings(queries, count_tokens(queries, predictor.checkpoint))]
    found = predictor.predict(queries, size=masks.size)
    if as_page:
        written = [page.write(predictor, found, str(destination), caution=caution or "")]
    else:
        written = _overlays(found, wishes.photos, destination)
    return Trial(answers=tuple(_answers(found)), written=tuple(written), unread=_unread(read), notes=tuple(notes))


def _unread(read: ReadImages) -> tuple[str, ...]:
    bad = read.table.filter(pc.not_equal(read.table["status"], "ok")).to_pylist()
    return tuple(f"{row['image_id']}: {row['error']}" for row in bad)


def _answers(found: Prediction) -> list[Answer]:
    return [
        Answer(photo=image_id, query=called(query), score=score, coverage=coverage)
        for place, image_id in enumerate(found.image_ids)
        for query, score, coverage in zip(
            found.queries, found.scores[place].tolist(), found.coverages(place).tolist(), strict=True
        )
    ]


def _overlays(found: Prediction, photos: Sequence[str], destination: str | None) -> list[str]:
    taken = {absolute(photo) for photo in photos}
    written = []
    for place, url in enumerate(_urls(found.image_ids, destination)):
        if url in taken:
            raise UserError(f"-o {url}: there is a photo or another overlay; name the overlay otherwise")
        taken.add(url)
        sink = io.BytesIO()
        found.overlay(place).save(sink, "PNG", compress_level=3)
        store = Store.of(url.rpartition("/")[0] or "/")
        with plain_errors(url):
            store.put(url.rpartition("/")[2], sink.getvalue())
        written.append(url)
    return written


def _urls(photos: Sequence[str], destination: str | None) -> list[str]:
    """Where the overlay of each photo goes; photos of one name in several folders are counted."""
    if destination is not None and len(photos) == 1:
        return [absolute(destination)]
    urls: list[str] = []
    for photo in photos:
        stem = PurePosixPath(without_query(photo)).stem[:100] or "photo"
        name = f"{stem}-overlay" if destination is None else f"{destination[: -len(_PICTURE)]}-{stem}"
        names = (absolute(f"{name}{count}{_PICTURE}") for count in ("", *(f"-{count}" for count in range(2, 10_000))))
        urls.append(next(url for url in names if url not in urls))
    return urls
