"""How many chunks shards hold that nobody has read: by their sizes, and by the images a run has seen."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from clipseg_ray import config
from clipseg_ray.pipeline.plan import look
from clipseg_ray.pipeline.progress import Reporter
from clipseg_ray.pipeline.segmenter import ChunkResult
from clipseg_ray.results.unread import IMAGE_BYTES, Unread
from clipseg_ray.sources.base import Member, Shard
from clipseg_ray.sources.chunking import Chunking
from clipseg_ray.storage import Store
from tests.made import make
from tests.pipeline import world
from tests.tars import tar_of

MB = 1_000_000


def tar(size: int, **fields: object) -> Shard:
    return Shard(shard_id=f"{size:016x}", path=f"{size}.tar", size=size, etag="e", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shard", "done", "image_bytes", "images", "chunks"),
    [
        (tar(100 * MB), 0, 100_000.0, 1000, 4),
        (tar(100 * MB), 9, 100_000.0, 1000, 9),
        (tar(100 * MB), 0, 5.0 * MB, 20, 1),
        (tar(2000 * MB), 0, 5.0 * MB, 400, 8),  # a chunk closes at 256 MiB
        (tar(2000 * MB, take=30), 0, 5.0 * MB, 30, 1),
        (tar(2000 * MB, take=300), 0, 5.0 * MB, 300, 6),
        (tar(10), 0, 100_000.0, 1, 1),
        (Shard.of_slice([Member(f"{i}.jpg", 5 * MB) for i in range(300)]), 0, 100_000.0, 300, 6),
        (Shard.of_slice([Member(f"{i}.jpg") for i in range(300)]), 0, 100_000.0, 300, 2),  # a manifest knows no sizes
    ],
)
def test_one_shard(shard: Shard, done: int, image_bytes: float, images: int, chunks: int) -> None:
    unread = Unread.of([shard], [done])
    assert (unread.images(image_bytes), unread.chunks(image_bytes)) == (images, chunks)


def test_progress_learns_from_the_images_it_sees() -> None:
    shards = [tar(300 * MB + number, chunking=Chunking(images=16)) for number in range(2)]
    work = replace(world.work(), unread=Unread.of(shards, [0, 0]))
    assert work.chunks_estimate == 376
    reporter = Reporter("run", work, io.StringIO())
    assert reporter.snapshot()["chunks_total"] == 376
    for chunk in range(2):
        reporter.add(ChunkResult(shard=shards[0].shard_id, chunk=chunk, images=16, encoded=16 * 2_400_000))
    told = reporter.snapshot()
    assert (told["chunks_done"], told["chunks_total"], told["chunks_total_is_estimate"]) == (2, 16, True)
    assert "chunks 2/~16" in reporter.line()
    for chunk in range(2, 20):
        reporter.add(ChunkResult(shard=shards[0].shard_id, chunk=chunk, images=16, encoded=16 * 2_400_000))
    assert reporter.snapshot()["chunks_total"] == 20


def test_a_plan_learns_from_the_shards_that_were_read(tmp_path: Path, checkpoint_dir: Path) -> None:
    pictures = {f"{i}.jpg": world.jpeg(i, 1200, 900) for i in range(4)}
    Store.of(str(tmp_path / "in")).put("a.tar", tar_of(pictures))
    table = world.write_table(tmp_path / "queries.jsonl")
    values = world.settings(str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, table)
    assert look(config.parse(values)).work.image_bytes == IMAGE_BYTES
    make(values)
    for name in "bcd":
        Store.of(str(tmp_path / "in")).put(f"{name}.tar", tar_of({name + key: data for key, data in pictures.items()}))
    found = look(config.parse(values)).work
    assert (found.shards_unread, found.images_estimate, found.chunks_estimate) == (3, 16, 8)
