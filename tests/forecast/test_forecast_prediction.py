"""What a measurement says of a whole run: arithmetic that can be done by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from clipseg_ray import config
from clipseg_ray.forecast.measurement import MeasuredJob, Measurement, Node
from clipseg_ray.forecast.prediction import Prediction, predict
from clipseg_ray.forecast.prediction_text import prediction_text
from clipseg_ray.forecast.step_costs import STEPS, StepCosts
from clipseg_ray.pipeline.pool import Pool
from clipseg_ray.pipeline.work import ShardWork, Work
from clipseg_ray.pixels.views import Views
from clipseg_ray.results.shard_records import ShardCounts
from clipseg_ray.sources.base import Member, Shard
from clipseg_ray.sources.chunking import Chunking
from tests.pipeline import world as pipeline_world

GPU_NODE, CPU_NODE, HEAD = Node(4, 1, False), Node(8, 0, False), Node(0, 0, True)


def costs(**seconds: float) -> StepCosts:
    """Milliseconds an image by step; an image of 1,000 bytes becomes 10 masks of 100 bytes."""
    wall = {step: seconds.get(step, 1e-6) / 1000 for step in STEPS}
    return StepCosts(
        wall_s=wall,
        cpu_s=dict(wall),
        measured_s=dict.fromkeys(STEPS, 20.0),
        shards=4,
        images=400,
        images_a_byte=0.001,
        encoded_bytes=1000.0,
        output_bytes=1000.0,
        masks=10.0,
        nonempty=0.5,
        undecodable=0.0,
        piece=10,
        decoded_bytes=3 * 352**2,
    )


def measured(
    steps: StepCosts, nodes: Sequence[Node], most: int, job: MeasuredJob | None = None, *, gpus: float = 1.0
) -> Measurement:
    pool = Pool(
        min=1,
        max=most,
        initial=most,
        actor_cpus=0.0 if gpus else 0.75,
        actor_gpus=gpus,
        actor_memory=None,
        reader_cpus=1.0 if gpus else 0.25,
        room=most,
    )
    return Measurement(
        device="cuda",
        precision="bf16",
        costs=steps,
        job=job,
        nodes=tuple(nodes),
        pool=pool,
        before_s=10.0,
        wait_s=0.0,
        actor_s=7.0,
        after_s=5.0,
        after_chunk_s=0.001,
        seconds=120.0,
    )


def work(*shards: ShardWork) -> Work:
    chunks = sum(item.known.chunks if item.known else 1 for item in shards)
    found = pipeline_world.work(*shards, chunks=chunks)
    return replace(found, folders=("images", "masks"), bytes=sum(item.shard.size for item in shards))


def shard(number: int, images: int, **fields: Any) -> ShardWork:
    """One that states nothing: a thousand bytes an image."""
    fields = {"chunking": Chunking(100), **fields}
    return ShardWork(
        Shard(shard_id=f"{number:016x}", path=f"{number}.tar", size=1000 * images, etag="e", **fields),
        {"images": 0, "masks": 0},
    )


def predicted(found: Measurement, todo: Work, new: bool = True, **sections: Any) -> Prediction:
    values = {"input": {"url": "in/", "chunk_images": 100}, "output": {"url": "out/"}}
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return predict(config.parse(values), todo, found, new)


def test_as_many_actors_as_measured_are_as_fast_as_measured() -> None:
    job = MeasuredJob(actors=2, chunk_images=10, images=1000, seconds=45.0, images_per_s=20.0, start_s=12.0)
    found = measured(costs(model=80.0, decode=5.0), [Node(2, 0, True)], 2, job, gpus=0)
    whole = predicted(found, work(*(shard(i, 1000) for i in range(4))))
    assert (whole.left.images, whole.left.chunks, whole.masks, whole.output_bytes) == (4000, 40, 40_000, 4_000_000)
    one, two = whole.scales
    assert two.images_per_s == pytest.approx(20)
    assert two.seconds == pytest.approx(10 + 5 + 0.001 * 40 + 12 + 4000 / 20)
    assert 10 <= one.images_per_s <= 12.5  # half of both, or what one process alone reached


def test_the_last_chunks_are_waited_for() -> None:
    job = MeasuredJob(actors=4, chunk_images=10, images=1000, seconds=45.0, images_per_s=40.0, start_s=0.0)
    found = measured(costs(model=100.0), [Node(4, 0, True)], 4, job, gpus=0)
    five = predicted(found, work(*(shard(i, 100) for i in range(5))))
    assert five.scales[-1].seconds - five.overhead_s == pytest.approx(2 * 100 * 4 / 40)


def test_gpus_scale_until_reading_starves() -> None:
    # A GPU takes 100 images/s; reading takes 16 ms a core: 1.6 cores a GPU, and a node has 4.
    found = measured(
        costs(model=10.0, decode=15.0, read=1.0),
        [HEAD, GPU_NODE],
        8,
        MeasuredJob(actors=1, chunk_images=100, images=1, seconds=1.0, images_per_s=100.0, start_s=0.0),
    )
    todo = work(*(shard(i, 1000) for i in range(100)))
    whole = predicted(found, todo)
    assert [scale.actors for scale in whole.scales] == [1, 2, 4, 8]
    assert [scale.images_per_s for scale in whole.scales] == pytest.approx([100, 200, 400, 800])
    assert {scale.limit for scale in whole.scales} == {"model"}
    assert whole.cores_needed == pytest.approx(0.01 * 100 + 1.6)  # the host's part of the model, and reading
    assert whole.cores_there == 4
    slow = replace(found, costs=costs(model=10.0, decode=79.0, read=1.0), job=None)
    starved = predicted(slow, todo).scales[-1]
    assert starved.limit in ("readers", "cores")
    assert starved.images_per_s < 8 * 4 / 0.080 + 1
    helped = replace(slow, nodes=(*slow.nodes, *[CPU_NODE] * 8))
    assert predicted(helped, todo).scales[-1].limit == "model"


def test_one_large_shard_is_read_by_one_reader() -> None:
    found = measured(costs(model=10.0, decode=8.0), [HEAD, GPU_NODE], 4)
    whole = predicted(found, work(shard(0, 100_000)))
    assert whole.scales[-1].limit == "shards"
    assert whole.scales[-1].images_per_s == pytest.approx(125)


def test_what_is_left_is_counted_where_it_is_known() -> None:
    known = ShardWork(
        Shard(shard_id="0" * 16, path="0.tar", size=10**9, etag="e"),
        {"images": 0b111, "masks": 0b010},
        ShardCounts(chunks=3, samples=240),
    )
    members = tuple(Member(f"{i}.jpg", 5) for i in range(120))
    sliced = ShardWork(
        Shard(shard_id="1" * 16, path="0.jpg", size=600, etag="", members=members, chunking=Chunking(100)),
        {"images": 0, "masks": 0},
    )
    limited = shard(2, 5000, take=30)
    begun = replace(shard(3, 400), done={"images": 0b11, "masks": 0b11})
    found = measured(costs(model=10.0), [HEAD, GPU_NODE], 1)
    left = predicted(found, work(known, sliced, limited, begun)).left
    assert (left.images, left.chunks, left.shards) == (160 + 120 + 30 + 200, 2 + 2 + 1 + 2, 4)


def test_a_chunk_closes_by_its_bytes_too() -> None:
    found = measured(costs(model=10.0), [HEAD, GPU_NODE], 1)
    assert predicted(found, work(shard(0, 1000, chunking=Chunking(100, 50_000)))).left.chunks == 20


def test_a_chunk_closes_by_what_its_images_decode_to() -> None:
    """Of views of 704² besides 352² there are 72 in 128 MiB."""
    steps = replace(costs(model=10.0), decoded_bytes=Views(tiles=2, overlap=0.5, whole=True).image_bytes(352))
    found = measured(steps, [HEAD, GPU_NODE], 1)
    assert predicted(found, work(shard(0, 720, chunking=Chunking(256)))).left.chunks == 10


def test_cost_is_nodes_times_hours() -> None:
    found = measured(
        costs(model=10.0, decode=1.0),
        [HEAD, GPU_NODE, CPU_NODE],
        4,
        MeasuredJob(actors=1, chunk_images=100, images=1, seconds=1.0, images_per_s=100.0, start_s=0.0),
    )
    todo = work(*(shard(i, 1000) for i in range(100)))
    prices = {"gpu_node_hour": 2.0, "cpu_node_hour": 0.5, "head_node_hour": 0.1, "currency": "EUR"}
    whole = predicted(found, todo, prices=prices)
    for scale in whole.scales:
        assert scale.cost == pytest.approx((2.0 * scale.actors + 0.5 + 0.1) * scale.seconds / 3600)
    assert "EUR" in prediction_text(found, whole)
    assert predicted(found, todo).scales[0].cost is None
    assert predicted(found, todo, prices={"gpu_node_hour": 2.0}).scales[0].cost is None  # the CPU node has no price
    assert "cost" not in prediction_text(found, predicted(found, todo))


def test_more_chunks_than_one_driver_schedules() -> None:
    found = measured(costs(model=1.0), [HEAD, GPU_NODE], 16)
    todo = work(*(shard(i, 10_000) for i in range(100)))
    whole = predicted(found, todo)
    assert whole.chunks_per_s == pytest.approx(160)
    assert whole.scales[-1].limit == "driver"
    assert whole.scales[-1].images_per_s == pytest.approx(5000)
    (warning,) = whole.warnings
    assert "input.chunk_images: 512" in warning
    assert "input.part: 1/4" in warning
    assert "chunk_images" not in predicted(found, todo, new=False).warnings[0]
    assert not predicted(replace(found, pool=replace(found.pool, max=4)), todo).warnings
