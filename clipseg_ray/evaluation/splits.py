"""The class lists of published protocols, as names for ``rows.queries``.

``pascal-5i/0`` … ``/3`` (one-shot; Shaban et al. 2017), ``coco-20i/0`` … ``/3`` (one-shot, HSNet's interleaved folds;
Min et al. 2021), ``pascal-unseen/2`` … ``/10`` (zero-shot; CLIPSeg's order of unseen pairs). Pascal's classes have
VOC's names as query_ids, COCO's those of ``builtin:coco_objects``.
"""

from __future__ import annotations

from collections.abc import Callable

from clipseg_ray.queries.table import load_queries

PASCAL = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle"),
    *("bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person"),
    *("pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_UNSEEN = ("cow", "motorbike", "aeroplane", "sofa", "cat", "tvmonitor", "train", "bottle", "chair", "pottedplant")


def pascal_5i(fold: int) -> list[str]:
    """The five classes tested in a fold, 0 to 3."""
    return list(PASCAL[5 * fold : 5 * fold + 5])


def coco_20i(fold: int) -> list[str]:
    """The twenty classes tested in a fold, 0 to 3: every fourth of COCO's eighty."""
    return [query.query_id for query in load_queries("builtin:coco_objects", None, 0.5)[fold::4]]


def pascal_unseen(number: int) -> list[str]:
    """The first 2, 4, 6, 8 or 10 unseen classes."""
    return list(_UNSEEN[:number])


_SPLITS: dict[str, tuple[Callable[[int], list[str]], tuple[int, ...]]] = {
    "pascal-5i": (pascal_5i, (0, 1, 2, 3)),
    "coco-20i": (coco_20i, (0, 1, 2, 3)),
    "pascal-unseen": (pascal_unseen, (2, 4, 6, 8, 10)),
}


def expanded(names: list[str]) -> list[str]:
    """The names with every split's name replaced by its classes. Raises ValueError for a part a split has not."""
    found: list[str] = []
    for name in names:
        split, slash, part = name.partition("/")
        if not slash or split not in _SPLITS:
            found.append(name)
            continue
        classes, parts = _SPLITS[split]
        if part not in map(str, parts):
            raise ValueError(f"there is no {name}; {split} has {', '.join(f'{split}/{each}' for each in parts)}")
        found += classes(int(part))
    return list(dict.fromkeys(found))
