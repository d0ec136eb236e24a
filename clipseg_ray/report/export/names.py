"""What files made of images are called: an image's own ending gives way to theirs, ``0001.jpg`` to ``0001.png``."""

from __future__ import annotations

import re

from clipseg_ray.report.export.files import name_of
from clipseg_ray.results import reading
from clipseg_ray.sources.images import Images
from clipseg_ray.storage import Store, plain_errors

_ENDINGS = "|".join(re.escape(ending[1:]) for ending in Images.endings)
_ENDING = re.compile(rf"(?<=[^/])\.(?:{_ENDINGS})\Z", re.IGNORECASE)

_SHARED = """
WITH stems AS (SELECT DISTINCT image_id, regexp_replace(image_id, ?, '\\1', 'i') AS stem FROM images)
SELECT image_id FROM stems WHERE stem <> image_id AND (
    stem IN (SELECT stem FROM stems GROUP BY stem HAVING count(*) > 1) OR stem IN (SELECT image_id FROM stems))
"""


class Names:
    """The names for the images of one dataset. Different images have different ones.

    ``a.jpg`` and ``a.png`` would share one, and keep their endings: ``a.jpg.png`` and ``a.png.png``.
    """

    def __init__(self, store: Store) -> None:
        with plain_errors(store.url), reading.connect(store) as connection:
            kept = connection.execute(_SHARED, [rf"([^/])\.(?:{_ENDINGS})\z"]).fetchall()
        self._kept = frozenset(image_id for (image_id,) in kept)

    def of(self, image_id: str, extension: str) -> str:
        """A path below the export for what is made of an image; ``extension`` with its dot. See ``files.name_of``."""
        return name_of(image_id if image_id in self._kept else _ENDING.sub("", image_id), extension)
