"""Lists of images, a line each; what follows a name in its line is another tool's."""

from __future__ import annotations

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.releases.release import read


def read_names(url: str) -> list[str]:
    """The first word of every line that has one. Raises UserError for no text, for no name, and for one that is there
    twice."""
    try:
        names = [line.split()[0] for line in read(url).decode().splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise UserError(f"{url}: no list of images: it is no text ({error})") from error
    if not names:
        raise UserError(f"{url}: no name in it; a list has an image's name in each line")
    seen = set[str]()
    for name in names:
        if name in seen:
            raise UserError(f"{url}: {name} is there twice; an image is listed once")
        seen.add(name)
    return names
