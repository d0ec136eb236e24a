"""What files made of images are called: an image's own ending gives way to theirs, ``0001.jpg`` to ``0001.png``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from clipseg_ray.report.export.files import name_of
from clipseg_ray.results import reading
from clipseg_ray.sources.images import Images
from clipseg_ray.storage import Store, plain_errors

_ENDINGS = "|".join(re.escape(ending[1:]) for ending in Images.endings)
_ENDING = re.compile(rf"(?<=[^/])\.(?:{_ENDINGS})\Z", re.IGNORECASE)

_CLASHING = r"""
WITH ids AS (
    SELECT image_id, count(*) AS times, regexp_replace(image_id, ?, '\1', 'i') AS stem FROM images GROUP BY image_id
), shared AS (
    SELECT image_id FROM ids WHERE stem <> image_id AND (
        stem IN (SELECT stem FROM ids GROUP BY stem HAVING count(*) > 1) OR stem IN (SELECT image_id FROM ids))
), called AS (
    SELECT ids.image_id, times, shared.image_id IS NOT NULL AS kept, lower(coalesce(shared.image_id, stem)) AS name
    FROM ids LEFT JOIN shared ON ids.image_id = shared.image_id
), repeated AS (
    SELECT name FROM called GROUP BY name HAVING count(*) > 1
), folders AS (
    SELECT DISTINCT string_split(image_id, '/')[:-2] AS names FROM ids WHERE contains(image_id, '/')
), above AS (
    SELECT DISTINCT lower(list_aggregate(names[:depth], 'string_agg', '/')) AS folder
    FROM folders, unnest(range(1, len(names) + 1)) AS depths(depth)
), blocked AS (
    SELECT DISTINCT regexp_replace(folder, '\.[^./]*\z', '') AS name FROM above WHERE folder SIMILAR TO '(?s).*\.[^./]*'
)
SELECT * FROM (
    SELECT image_id, kept, times > 1 OR name IN (FROM blocked) OR name IN (FROM repeated) AS clashes FROM called
) WHERE kept OR clashes
"""


class Names:
    """The names for the images of one dataset. Different images have different ones.

    ``a.jpg`` and ``a.png`` would share one, and keep their endings: ``a.jpg.png`` and ``a.png.png``. A hash tells
    apart what would still be one name, or differ in case alone (disks of Windows and macOS do not), images of one id,
    and a file from a folder of its name. No folder of theirs is called ``not_called``.
    """

    def __init__(self, store: Store, not_called: str = "") -> None:
        self._not_called = not_called
        with plain_errors(store.url), reading.connect(store) as connection:
            found = connection.execute(_CLASHING, [rf"([^/])\.(?:{_ENDINGS})\z"]).fetchall()
        self._kept = frozenset(image_id for image_id, kept, _ in found if kept)
        self._clashing = frozenset(image_id for image_id, _, clashes in found if clashes)

    def of(self, image: Mapping[str, Any], extension: str) -> str:
        """A path below the export for what is made of an image; ``extension`` with its dot. See ``files.name_of``.

        image: what the images table says of it, at least ``image_id``, ``source_url``, ``key`` and ``offset``.
        """
        image_id = image["image_id"]
        called = image_id if image_id in self._kept else _ENDING.sub("", image_id)
        mark = ""
        if image_id in self._clashing:
            mark = "\0".join(str(image[name]) for name in ("image_id", "source_url", "key", "offset"))
        *folders, name = name_of(called, extension, mark).split("/")
        # Encoded further than it has to be, which is nobody else's name.
        own = [f"%{ord(each[0]):02X}{each[1:]}" if each == self._not_called else each for each in folders]
        return "/".join([*own, name])
