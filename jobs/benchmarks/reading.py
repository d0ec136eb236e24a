"""Images from storage: ours against plain ways to the same bytes, in seconds and in CPU seconds an image.

The input is written below a URL of the caller's (an S3 bucket, or a folder): the same images as single objects and in
tars. Every contestant reads all of them in fresh processes, so that the CPU counted is that of reading alone.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from typing import Any

from benchmarks import inputs
from benchmarks.harness import Contestant, Race, aligned, environment, race, report
from clipseg_ray.addresses import protocol_of
from clipseg_ray.errors import UserError
from clipseg_ray.pixels.decode import decode
from clipseg_ray.pixels.preprocessing import BILINEAR, Preprocessing
from clipseg_ray.sources.base import Member, Shard
from clipseg_ray.sources.images import Images
from clipseg_ray.sources.webdataset import WebDataset
from clipseg_ray.storage import Entry, Store

_TARS = 4
_AT_ONCE = 32
_PREPROCESSING = Preprocessing(
    size=352, resample=BILINEAR, rescale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)


@dataclass(frozen=True)
class _Read:
    """What one process read: images, their bytes, and the CPU seconds it took (all threads)."""

    images: int
    bytes: int
    cpu_s: float


def benchmark(
    *,
    url: str,
    images: int = 2000,
    rounds: int = 5,
    readers: Sequence[int] = (1, 4),
    images_dir: str | None = None,
    json_file: str | None = None,
) -> dict[str, Any]:
    """Run it, print it, and return what the JSON line holds. UserError when ``url`` is not empty."""
    store = Store.of(f"{url.rstrip('/')}/benchmark-read")
    if next(iter(store.list()), None) is not None:
        raise UserError(f"{store.url}: something is there already; name a place where nothing is")
    jpegs = inputs.jpegs(min(images, 256), images_dir)
    try:
        tars = _write(store, [jpegs[index % len(jpegs)] for index in range(images)])
        objects = sorted(store.list("objects"), key=lambda entry: entry.path)
        singles: dict[str, Callable[[Sequence[Entry]], _Read]] = {"ours": partial(_ours_objects, store.url)}
        if protocol_of(url) == "s3" and _has_obstore():
            singles["obstore"] = partial(_obstore, store.url)
        singles["one after the other"] = partial(_one_by_one, store.url)
        whole = {"ours": partial(_ours_tars, store.url), "tarfile": partial(_tarfile, store.url)}
        found, costs = [], {}
        for title, ways, work in (("single objects", singles, objects), ("tars", whole, tars)):
            for count in readers:
                name = f"{title}, {count} reader(s)"
                raced, costs[name] = _race(name, ways, work, count=count, images=images, rounds=rounds)
                found.append(raced)
    finally:
        for entry in list(store.list()):
            store.delete(entry.path)
    decode_s = _decode_s(jpegs)
    result = {
        "benchmark": "read",
        **environment("cpu"),
        "settings": {
            "images": images,
            "rounds": rounds,
            "protocol": protocol_of(url),
            "pictures": "drawn, 825×550" if images_dir is None else "photographs",
            "bytes_per_image": sum(map(len, jpegs)) / len(jpegs),
        },
        "cpu_ms_per_image": costs,
        "decode_cpu_ms_per_image": 1e3 * decode_s,
        "agrees": True,
    }
    report(result, found, [_table(costs, decode_s)], json_file)
    return result


def _race(
    title: str,
    ways: Mapping[str, Callable[[Any], _Read]],
    work: Sequence[Entry],
    *,
    count: int,
    images: int,
    rounds: int,
) -> tuple[Race, dict[str, float]]:
    """The ways in turns, each with ``count`` processes; and CPU milliseconds an image, the least of the rounds."""
    cpu_s: dict[str, list[float]] = {name: [] for name in ways}
    with ProcessPoolExecutor(count, get_context("spawn")) as pool:
        shares = [work[number::count] for number in range(count)]

        def run(name: str) -> None:
            read = list(pool.map(ways[name], shares))
            if sum(each.images for each in read) != images:
                raise UserError(f"{name}: read {sum(each.images for each in read)} images of {images}")
            cpu_s[name].append(sum(each.cpu_s for each in read))

        contestants = [Contestant(name, partial(run, name), images) for name in ways]
        found = race(title, "image", contestants, rounds)
    return found, {name: 1e3 * min(seconds) / images for name, seconds in cpu_s.items()}


def _counted(images: Iterator[bytes]) -> _Read:
    started, count, size = time.process_time(), 0, 0
    for image in images:
        count += 1
        size += len(image)
    return _Read(count, size, time.process_time() - started)


def _ours_objects(url: str, objects: Sequence[Entry]) -> _Read:
    members = [Member(entry.path, entry.size, entry.etag) for entry in objects]
    samples = Images(url).samples(Shard.of_slice(members))
    return _counted(sample.image for sample in samples if sample.image is not None)


def _one_by_one(url: str, objects: Sequence[Entry]) -> _Read:
    store = Store(url)
    return _counted(store.get(entry.path) for entry in objects)


def _has_obstore() -> bool:
    try:
        import obstore  # noqa: F401
    except ImportError:
        return False
    return True


def _obstore(url: str, objects: Sequence[Entry]) -> _Read:
    """The same requests, conditional on the etag too, through the client of Rust's object_store."""
    import obstore

    store = obstore.store.from_url(
        url,
        config={"endpoint": os.environ["AWS_ENDPOINT_URL"], "virtual_hosted_style_request": "false"},
        client_options={"allow_http": True},
    )

    async def get(entry: Entry) -> bytes:
        answer = await obstore.get_async(store, entry.path, options={"if_match": f'"{entry.etag}"'})
        return bytes(await answer.bytes_async())

    async def all_of(entries: Sequence[Entry]) -> list[bytes]:
        return await asyncio.gather(*map(get, entries))

    def images() -> Iterator[bytes]:
        with asyncio.Runner() as runner:
            for start, stop in pairwise([*range(0, len(objects), _AT_ONCE), len(objects)]):
                yield from runner.run(all_of(objects[start:stop]))

    return _counted(images())


def _ours_tars(url: str, tars: Sequence[Entry]) -> _Read:
    source = WebDataset(url)
    shards = [Shard.of_object(Member(entry.path, entry.size, entry.etag)) for entry in tars]
    samples = (sample for shard in shards for sample in source.samples(shard))
    return _counted(sample.image for sample in samples if sample.image is not None)


def _tarfile(url: str, tars: Sequence[Entry]) -> _Read:
    """What Python's tarfile reads of the same stream, front to back."""

    def images() -> Iterator[bytes]:
        for entry in tars:
            with Store(url).open(entry.path) as file, tarfile.open(fileobj=file, mode="r|") as tar:
                for member in tar:
                    if member.name.endswith(".jpg") and (opened := tar.extractfile(member)) is not None:
                        yield opened.read()

    return _counted(images())


def _write(store: Store, images: Sequence[bytes]) -> list[Entry]:
    for index, image in enumerate(images):
        store.put(f"objects/{index:06d}.jpg", image)
    for number in range(_TARS):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for index in range(number, len(images), _TARS):
                for ending, data in ((".jpg", images[index]), (".json", json.dumps({"index": index}).encode())):
                    info = tarfile.TarInfo(f"{index:06d}{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        store.put(f"tars/{number}.tar", buffer.getvalue())
    return sorted(store.list("tars"), key=lambda entry: entry.path)


def _decode_s(jpegs: Sequence[bytes]) -> float:
    """CPU seconds to decode an image, to hold reading against."""
    started = time.process_time()
    for data in jpegs[:64]:
        decode(data, _PREPROCESSING, "fast")
    return (time.process_time() - started) / min(64, len(jpegs))


def _table(costs: dict[str, dict[str, float]], decode_s: float) -> str:
    rows = [["", "CPU ms / image", "cores at 1,000 images/s", "at 10,000"]]
    rows += [
        [f"{title}: {name}", f"{cost:.2f}", f"{cost:.1f}", f"{10 * cost:.0f}"]
        for title, by_name in costs.items()
        for name, cost in by_name.items()
    ]
    rows.append(["decoding", f"{1e3 * decode_s:.2f}", f"{1e3 * decode_s:.1f}", f"{1e4 * decode_s:.0f}"])
    return aligned(rows)
