"""Copying the files of a dataset that another one made from it has too."""

from concurrent.futures import ThreadPoolExecutor

from clipseg_ray.results import own_files
from clipseg_ray.storage import Store, get_all

_AT_ONCE = 64


def copy_folder(source: Store, target: Store, folder: str) -> None:
    """Put every file of ``folder`` that ``target`` lacks; one that it has is taken for the same and left alone.

    Files under names that no run writes are not copied.
    """
    there = set(own_files.names(target, folder))
    names = [path for path in own_files.names(source, folder) if path not in there]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for start in range(0, len(names), _AT_ONCE):
            near = names[start : start + _AT_ONCE]
            bodies = get_all([source.url_of(name) for name in near])
            list(threads.map(target.put, near, bodies))
