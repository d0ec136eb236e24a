"""What somebody types to try: photos and prompts in one list, a picture prompt, a table, settings of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipseg_ray.addresses import absolute, protocol_of
from clipseg_ray.config import MasksConfig, ModelConfig, faults_of_finer
from clipseg_ray.errors import UserError
from clipseg_ray.outside_text import native
from clipseg_ray.pixels.kinds import is_image
from clipseg_ray.settings import Settings

_TRIED = {
    "model": ("checkpoint", "revision", "precision", "device", "views"),
    "masks": ("threshold", "size", "refine", "refine_radius", "refine_epsilon"),
}
"""The settings of a run that a try has too."""


class TrialSettings(Settings):
    """What ``-s`` may change: the model, and what becomes of its logits, as in a run's configuration."""

    model: ModelConfig = ModelConfig()
    masks: MasksConfig = MasksConfig()

    def faults(self) -> Iterator[str]:
        """Settings that only a run has."""
        for section, values in self.changed().items():
            for key in values:
                if key not in _TRIED[section]:
                    yield f"{section}.{key}: only a run has it; here are {', '.join(_TRIED[section])}"
        yield from faults_of_finer(self.model, self.masks)


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """photos: paths and URLs. prompts: texts, and rows of a query table. table: a path or URL of one, or None."""

    photos: tuple[str, ...]
    prompts: tuple[str | dict[str, Any], ...]
    table: str | None
    settings: TrialSettings = field(default_factory=TrialSettings)


def wishes(
    arguments: Sequence[str],
    *,
    image: str | None = None,
    mask: str | None = None,
    box: str | None = None,
    table: str | None = None,
    settings: TrialSettings | None = None,
) -> Wishes:
    """Sort out what was typed: URLs, files and names of images are photos, everything else is a prompt.

    image, mask, box: a picture prompt, with a mask file or ``x,y,w,h`` in pixels. Raises UserError where there is no
    photo, or nothing is asked.
    """
    photos = tuple(each for each in arguments if _is_photo(each))
    texts = [each for each in arguments if not _is_photo(each)]
    if not photos:
        folder = next((text for text in texts if Path(native(absolute(text))).is_dir()), None)
        hint = f"; {folder} is a folder: give what is in it, e.g. {folder.rstrip('/')}/*.jpg" if folder else ""
        raise UserError(f'no photo is given; name a file or URL, e.g. photo.jpg "a red chair"{hint}')
    if empty := [text for text in texts if not text.strip()]:
        raise UserError(f"prompt {empty[0]!r} is empty; say what is to be found")
    picture = _picture(image, mask, box)
    prompts: tuple[str | dict[str, Any], ...] = (*texts, *([picture] if picture else []))
    if not prompts and table is None:
        raise UserError(f"nothing is asked of {photos[0]}; add a prompt in quotes, --image, or --table")
    return Wishes(photos=photos, prompts=prompts, table=table, settings=settings or TrialSettings())


def _is_photo(argument: str) -> bool:
    if protocol_of(argument) != "file" or is_image(argument):
        return True
    try:
        return Path(native(absolute(argument))).is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _picture(image: str | None, mask: str | None, box: str | None) -> dict[str, Any] | None:
    if image is None:
        if mask is not None or box is not None:
            raise UserError("--mask and --box are of a picture prompt; give the picture by --image")
        return None
    if (mask is None) == (box is None):
        raise UserError(f"--image {image}: say what is meant in it, by --mask FILE or --box x,y,w,h (one of them)")
    return {"query_id": Path(image).stem or "picture", "image": image, "mask": mask if box is None else _box(box)}


def _box(text: str) -> list[float]:
    try:
        numbers = [float(each) for each in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise UserError(f"--box {text}: give x,y,w,h in pixels of the picture, e.g. 40,30,200,180")
    return numbers
