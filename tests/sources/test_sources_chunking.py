"""Chunks by shard: small shards are shared by several actors, and nothing but the listing decides how."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg_ray.sources.base import Member, Shard
from clipseg_ray.sources.chunking import LEAST_BYTES, LEAST_IMAGES, PIXEL_BYTES, Chunking
from clipseg_ray.sources.chunks import read_chunks
from clipseg_ray.sources.listing import append_shards, discover, from_parquet, to_parquet
from clipseg_ray.sources.webdataset import WebDataset
from clipseg_ray.storage import Store
from tests.tars import tar_of


def chunks_of(images: int, chunking: Chunking) -> list[int]:
    return [min(chunking.images, images - first) for first in range(0, images, chunking.images)]


@pytest.mark.parametrize(
    ("images", "chunks"),
    [
        (1, [1]),
        (8, [8]),
        (9, [8, 1]),
        (40, [16, 16, 8]),
        (100, [32, 32, 32, 4]),
        (512, [128] * 4),
        (4096, [256] * 16),
    ],
)
def test_a_slice_or_a_beginning_is_cut_by_its_images(images: int, chunks: list[int]) -> None:
    slice_ = Shard.of_slice([Member(f"{i}.jpg", 100_000) for i in range(images)]).cut(Chunking())
    assert chunks_of(images, slice_.chunking) == chunks
    assert Shard.of_object(Member("a.tar", 10**9), take=images).cut(Chunking()).chunking == slice_.chunking


@given(st.integers(1, 10_000), st.integers(0, 2**40), st.integers(1, 4096), st.integers(1, 2**30))
def test_never_more_than_was_asked_for_and_no_crumbs(images: int, size: int, most: int, most_bytes: int) -> None:
    limits = Chunking(most, most_bytes)
    by_images, by_bytes = limits.of_shard(images, size), limits.of_shard(None, size)
    assert by_images.images <= most
    assert by_bytes.bytes <= most_bytes
    assert (by_images.bytes, by_bytes.images) == (most_bytes, most)
    assert by_images.images >= min(most, LEAST_IMAGES)
    assert by_bytes.bytes >= min(most_bytes, LEAST_BYTES)
    assert len(chunks_of(images, by_images)) >= min(2, math.ceil(images / LEAST_IMAGES))


def test_forty_images_in_a_tar_are_several_chunks_and_so_they_stay(tmp_path) -> None:
    store = Store.of(str(tmp_path))
    store.put("s.tar", tar_of({f"{i:02d}.jpg": bytes(100_000) for i in range(40)}))
    listing = discover([str(tmp_path)], None)
    source = WebDataset(listing.root)
    (shard,) = append_shards([], listing, source, slice_images=10)
    (frozen,) = from_parquet(to_parquet([shard]), "listing")
    assert frozen == shard
    *chunks, record = read_chunks(source, frozen, frozen.chunking, lambda _: True)
    assert [len(chunk.samples) for chunk in chunks] == [11, 11, 11, 7]
    assert record.samples == 40


def test_a_chunk_closes_at_its_decoded_pixels() -> None:
    side = 352
    held = Chunking(4096).decoded(3 * side * side).images
    assert held * 3 * side * side <= PIXEL_BYTES < (held + 1) * 3 * side * side
    assert Chunking(256).decoded(3 * side * side).images == 256
    assert Chunking(16).decoded(PIXEL_BYTES * 2).images == 1
