"""``truth FORMAT SOURCE DEST``: a release of a data set becomes truth shards, several of them side by side on Ray.

``DEST/_truth.json`` says what they were made from. A shard that is there is done; each is put as a whole.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.releases.formats import PLACES, read_release
from clipseg_ray.evaluation.truth_writing import Planned, Spec, Writer, Written, planned
from clipseg_ray.storage import Store, plain_errors

RECORD = "_truth.json"
_SAY_EVERY_S = 15.0


def write_truth(format: str, source: str, destination: str, options: Mapping[str, Any]) -> str:
    """Write the truth shards of a release that are not in ``destination`` yet; say in a line what was done.

    options: keywords of the format's reader, as ``--split`` gives them. One shard is written here, several on the Ray
    cluster at ``RAY_ADDRESS`` or on this machine. Raises UserError for anything that stops it.
    """
    release = read_release(format, source, options)
    store = Store.of(destination)
    shards = planned(release)
    settings = {name: value for name, value in options.items() if name not in PLACES}
    record = {"format": format, **settings, "release": release.sha256, "images": len(release.pictures)}
    with plain_errors(store.url):
        there = {entry.path for entry in store.list() if entry.size}
        _confirm(store, record, there, {shard.name for shard in shards})
    left = [shard for shard in shards if shard.name not in there]
    about = "".join(f"; {remark}" for remark in release.remarks)
    if not left:
        return f"Nothing to do: {store.url} has all {len(shards)} shard(s) of {len(release.pictures)} images{about}"
    images = masks = empty = 0
    for written in _written(Spec(store.url, release.draw), left):
        images, masks, empty = images + written.images, masks + written.masks, empty + written.empty
    if empty:
        about += f"; {empty} masks without a pixel left out"
    return f"{store.url}: {len(left)} of {len(shards)} shard(s) written, {images} images with {masks} masks{about}"


def _confirm(store: Store, record: dict[str, Any], there: set[str], names: set[str]) -> None:
    """Raise UserError where the folder has shards of something else; else leave the record there."""
    if strange := sorted(path for path in there - names if path.endswith(".tar")):
        raise UserError(f"{store.url_of(strange[0])}: it is none of this release's shards; give an empty folder")
    data = json.dumps(record, indent=1).encode() + b"\n"
    if RECORD not in there:
        if there & names:
            raise UserError(f"{store.url}: shards, but no {RECORD} that says of what; give an empty folder")
        store.put(RECORD, data)
    elif store.get(RECORD) != data:
        raise UserError(
            f"{store.url_of(RECORD)}: the shards there were made from another release or with other options; give an "
            "empty folder"
        )


def _written(spec: Spec, shards: Sequence[Planned]) -> Iterator[Written]:
    """Of every shard as it is done; reports progress on the terminal."""
    if len(shards) == 1:
        yield Writer(spec)(shards[0])
        return
    from clipseg_ray.cluster.connection import connected, guard_a_local_cluster

    guard_a_local_cluster()
    import ray

    from clipseg_ray.cluster.shard_map import map_shards

    said = time.monotonic()
    with connected():
        workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
        for number, (_, written) in enumerate(map_shards(Writer, spec, shards, workers=workers, cpus=1, gpus=0), 1):
            yield written
            if time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                print(f"shards {number}/{len(shards)}", file=sys.stderr, flush=True)
