"""A run tried on samples of its input, where it would run: each step by itself, then the whole job for a minute.

Everything is written into a folder beside the output (``layout.REHEARSAL``) that is removed afterwards.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from clipseg_ray.cluster.capacity import capacity
from clipseg_ray.cluster.connection import connected
from clipseg_ray.cluster.interrupt import terminate_as_interrupt
from clipseg_ray.cluster.ray_internals import is_head
from clipseg_ray.config import RunConfig
from clipseg_ray.errors import UserError, last_line
from clipseg_ray.forecast.measurement import MeasuredJob, Measurement, Node
from clipseg_ray.forecast.step_costs import StepCosts, measure
from clipseg_ray.pipeline import graph
from clipseg_ray.pipeline.execute import device_for
from clipseg_ray.pipeline.plan import Plan, look
from clipseg_ray.pipeline.pool import Pool, chunks_at_most, pool_of
from clipseg_ray.pipeline.reader import Reader
from clipseg_ray.pipeline.row import ChunkRow
from clipseg_ray.pipeline.segmenter import Segmenter, SegmenterSpec
from clipseg_ray.pipeline.settle import Settled, settle
from clipseg_ray.pipeline.work import ShardWork
from clipseg_ray.report import card
from clipseg_ray.results import layout
from clipseg_ray.results.completeness import check_ids
from clipseg_ray.sources.base import Shard
from clipseg_ray.storage import Store, plain_errors

STEP_S = 20.0
"""How long each step is measured by itself."""
JOB_S = 45.0
"""How long the whole job is measured, once every actor is at work."""
CHUNKS_AN_ACTOR = 4
"""So many at least are awaited then, unless that takes MOST_JOB_S."""
MOST_JOB_S = 300.0
SHARDS = 16
"""So many at most are sampled."""
_STOP = "stop"


def rehearse(config: RunConfig, began: float, say: Callable[[str], None]) -> tuple[Plan, Measurement | None]:
    """Plan a run and measure it; None where nothing is left to do. Nothing is written into its output.

    Needs the cluster the run would have: ``RAY_ADDRESS``, or Ray on this machine. ``began`` (``time.perf_counter``) is
    when the process did: what it took until now a run takes too. ``say`` hears what is going on. Raises UserError for
    what would stop the run, and where no worker can take an actor for ``pool.wait_s``.
    """
    plan = look(config)
    if plan.work.complete:
        return plan, None
    with terminate_as_interrupt(), _beside(plan.store) as place:
        with connected():
            connected_s = time.perf_counter() - began
            found = _rehearse(plan, place, say)
            leaving = time.perf_counter()
        left_s = time.perf_counter() - leaving
    return plan, replace(
        found,
        before_s=found.before_s + connected_s,
        after_s=found.after_s + left_s,
        seconds=time.perf_counter() - began,
    )


@contextmanager
def _beside(output: Store) -> Iterator[Store]:
    """A folder beside the output, where its user may write too; in a bucket's root there is only the inside."""
    name = f"{layout.REHEARSAL}{secrets.token_hex(4)}"
    whole_bucket = output.protocol != "file" and "/" not in output.root.strip("/")
    place = output.child(name) if whole_bucket else Store(f"{output.url}{name}")
    try:
        yield place
    finally:
        with plain_errors(place.url):
            for _ in range(2):  # after a fault an actor that is being ended may have a part on its way
                for entry in list(place.list()):
                    place.delete(entry.path)
                if place.protocol == "file":
                    shutil.rmtree(place.root, ignore_errors=True)
                time.sleep(0.2)


def _rehearse(plan: Plan, place: Store, say: Callable[[str], None]) -> Measurement:
    began = time.perf_counter()
    if plan.present is not None:
        with plain_errors(place.url):
            place.put(layout.DATASET, plan.store.get(layout.DATASET))
            for folder in (layout.INPUTS, layout.SETS, layout.QUERIES):
                for entry in plan.store.list(folder):
                    place.put(entry.path, plan.store.get(entry.path))
    # A host that is gone must not keep the run from being measured.
    settled = settle(replace(plan, store=place, give_up=True), device_for(plan, capacity()), reader_threads=1)
    settled_s = time.perf_counter() - began
    device = settled.record.compute["device"]
    pool = pool_of(plan.config.pool, device, capacity(), chunks_at_most(plan.work))
    works = _samples(plan, settled, SHARDS)
    say(f"each step by itself, on {len(works)} shard(s), about {5 * STEP_S:.0f} s and a start")
    there = pool.room > 0
    costs, actor_s, waited_s = _costs(settled, pool, works, plan.config.pool.wait_s)
    wait_s = 0.0 if there else waited_s  # a process's own start is in the job's
    actors = _actors(pool, device)
    say(f"the whole job with {actors} actor(s), about {JOB_S:.0f} s and a start")
    job = _job(settled, replace(pool, min=actors, max=actors, initial=actors), works, costs)
    after_s, after_chunk_s = _after(place)
    return Measurement(
        device=device,
        precision=settled.record.compute["precision"],
        costs=costs,
        job=job,
        nodes=tuple(_nodes()),
        pool=pool,
        before_s=settled_s + wait_s,
        wait_s=wait_s,
        actor_s=actor_s,
        after_s=after_s,
        after_chunk_s=after_chunk_s,
        seconds=0.0,
    )


def _samples(plan: Plan, settled: Settled, count: int) -> list[ShardWork]:
    """Shards from all over what is to do, each to be read from its beginning for the parts it lacks."""
    todo = plan.work.todo
    count = min(count, len(todo))
    known = {layout.masks_folder(owner.name) for owner in plan.assignment.present}
    new = [name for one in settled.prompt_sets if (name := layout.masks_folder(one.name)) not in known]
    works = []
    for number in range(count):
        work = todo[(2 * number + 1) * len(todo) // (2 * count)]
        chunks = work.missing()
        lacking = set(work.done) if chunks is None else {name for chunk in chunks for name in work.lacking(chunk)}
        folders = [folder for name in work.done for folder in ([name] if name in known | {layout.IMAGES} else new)]
        wanted = lacking | {layout.IMAGES, *new}  # an images part is no more than a few bytes an image
        done = {name: 0 if name in wanted else -1 for name in folders}
        works.append(ShardWork(work.shard, done))
    return works


def _actors(pool: Pool, device: str) -> int:
    """As many as share one machine where they share its cores; one where each has a GPU."""
    if device == "cuda":
        return 1
    return min(pool.max, max(1, *(int(node.cpus) for node in _nodes())))


def _costs(settled: Settled, pool: Pool, works: Sequence[ShardWork], wait_s: float) -> tuple[StepCosts, float, float]:
    """What the steps cost in a process with an actor's resources; seconds to load the model, and until it began to."""
    began = time.perf_counter()
    apart = Store(settled.spec.output).child("steps").url
    actor = _Steps.options(  # type: ignore[attr-defined]
        num_cpus=pool.actor_cpus, num_gpus=pool.actor_gpus or None, memory=pool.actor_memory
    ).remote(settled.reader, replace(settled.spec, output=apart))
    try:
        start_s = ray.get(actor.start_s.remote(), timeout=wait_s)
        waited = time.perf_counter() - began - start_s
        return ray.get(actor.measure.remote(works, STEP_S)), start_s, waited
    except GetTimeoutError as error:
        raise UserError(f"pool: no worker could start within {wait_s:.0f} s: an actor needs {pool.needs}") from error
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise UserError(str(error.cause)) from error
        raise
    except RayActorError as error:
        raise UserError(f"an actor could not start: {last_line(error)}") from error
    finally:
        ray.kill(actor)


@ray.remote
class _Steps:
    """A Segmenter, and a reader beside it, that measure."""

    def __init__(self, reader: Reader, spec: SegmenterSpec) -> None:
        began = time.perf_counter()
        self._reader = reader
        self._segmenter = Segmenter(spec)
        self._start_s = time.perf_counter() - began

    def start_s(self) -> float:
        """Seconds until the model was loaded."""
        return self._start_s

    def measure(self, works: Sequence[ShardWork], seconds: float) -> StepCosts:
        """See ``step_costs.measure``."""
        return measure(self._reader, self._segmenter, works, seconds)


def _job(settled: Settled, pool: Pool, works: Sequence[ShardWork], costs: StepCosts) -> MeasuredJob | None:
    """The graph over samples; None where they are too few for a rate."""
    size = costs.piece
    expected = pool.max / (costs.wall_s["model"] + costs.wall_s["rle"])
    wanted = max(2 * JOB_S * expected, 2 * CHUNKS_AN_ACTOR * pool.max * size)
    each = size * max(1, round(wanted / len(works) / size))
    todo = [replace(work, shard=_first(work.shard, each, size)) for work in works]
    reader = _Stoppable(**vars(settled.reader))
    began = time.perf_counter()
    finished: list[tuple[float, int]] = []
    stopped = False
    found = graph.results(reader, todo, settled.spec, pool)
    try:
        for result in found:
            if result.failure is not None:
                raise UserError(f"a sample failed: {result.failure}")
            if stopped:
                continue
            finished.append((time.perf_counter() - began, result.images))
            steady = finished[-1][0] - finished[min(len(finished), pool.max) - 1][0]
            enough = len(finished) > CHUNKS_AN_ACTOR * pool.max
            if (steady >= JOB_S and enough) or steady >= MOST_JOB_S:
                Store.of(reader.output).put(_STOP, b"")
                stopped = True
    finally:
        found.close()
    if len(finished) <= pool.max:
        return None
    first_s, last_s = finished[pool.max - 1][0], finished[-1][0]
    images = sum(count for _, count in finished[pool.max :])
    rate = images / (last_s - first_s)
    # The line through the steady state meets zero images where a job that lost nothing would have begun.
    start_s = max(0.0, first_s - sum(count for _, count in finished[: pool.max]) / rate)
    return MeasuredJob(
        actors=pool.max, chunk_images=size, images=images, seconds=last_s - first_s, images_per_s=rate, start_s=start_s
    )


def _first(shard: Shard, images: int, a_chunk: int) -> Shard:
    """The shard up to so many images, in chunks of ``a_chunk``."""
    return replace(shard, take=min(shard.take or images, images), chunking=replace(shard.chunking, images=a_chunk))


@dataclass(frozen=True)
class _Stoppable(Reader):
    """A reader that gives no more chunks once a file says so: the job then ends by itself, and nobody is killed."""

    def rows(self, work: ShardWork) -> Iterator[ChunkRow]:
        """See ``Reader.rows``."""
        store = Store.of(self.output)
        if store.exists(_STOP):
            return
        for row in super().rows(work):
            yield row
            if store.exists(_STOP):
                return


def _after(place: Store) -> tuple[float, float]:
    """Seconds of the final checks and the card: fixed, and for each chunk."""
    parts = sum(1 for _ in place.list(layout.IMAGES))
    if not parts:
        return 0.0, 0.0
    seconds = []
    for _ in range(2):  # the second time nothing is loaded or connected any more
        place.delete(layout.IDS)
        began = time.perf_counter()
        check_ids(place)
        card.write(place)
        seconds.append(time.perf_counter() - began)
    each = min(seconds) / parts
    return max(0.0, seconds[0] - seconds[1]), each


def _nodes() -> list[Node]:
    return [
        Node(
            node["Resources"].get("CPU", 0.0),
            node["Resources"].get("GPU", 0.0),
            is_head(node["Resources"]),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
