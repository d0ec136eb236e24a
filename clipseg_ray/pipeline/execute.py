"""A plan carried out on Ray: settle it, pass over the graph until nothing is missing, check, say how it went."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from clipseg_ray import __version__, yaml_text
from clipseg_ray.cluster.capacity import Capacity, capacity, device_of
from clipseg_ray.cluster.interrupt import raise_if_asked
from clipseg_ray.cluster.ray_internals import PoolState
from clipseg_ray.errors import UserError, last_line
from clipseg_ray.pipeline import graph, retry
from clipseg_ray.pipeline.breaker import Breaker, RunStopped
from clipseg_ray.pipeline.describe import queries_text
from clipseg_ray.pipeline.heartbeat import Heartbeat
from clipseg_ray.pipeline.nodes import NodeWatch
from clipseg_ray.pipeline.outcome import COMPLETE, INCOMPLETE, INTERRUPTED, Outcome, interrupted, nothing_to_do
from clipseg_ray.pipeline.plan import Plan
from clipseg_ray.pipeline.pool import Pool, chunks_at_most, pool_of
from clipseg_ray.pipeline.progress import Reporter
from clipseg_ray.pipeline.reader import WHOLE_SHARD
from clipseg_ray.pipeline.settle import Outpaced, Settled, prepare, settle
from clipseg_ray.pipeline.work import ShardWork, Work
from clipseg_ray.queries.inspection import phrases_cut
from clipseg_ray.report import closing
from clipseg_ray.results import retrying, runs
from clipseg_ray.results.completeness import named
from clipseg_ray.results.foundation import OutputLost
from clipseg_ray.results.soundness import unsound
from clipseg_ray.storage import plain_errors


def execute(plan: Plan, invocation: str, connect: Callable[[], None]) -> Outcome:
    """Do what the plan lacks on the Ray cluster that ``connect`` waits for. See ``driver.run``."""
    model = prepare(plan)
    connect()
    cluster = capacity()
    try:
        settled = settle(plan, device_for(plan, cluster), reader_threads=1, model=model)
    except Outpaced:  # another first run was faster: what it settled is this run's dataset too
        plan = plan.again()
        settled = settle(plan, device_for(plan, cluster), reader_threads=1)
    config, store, device = plan.config, plan.store, settled.record.compute["device"]
    for warning in settled.warnings:
        print(f"warning: {warning}", flush=True)
    pool_of(config.pool, device, cluster, 1)  # what can never run is refused before a retry removes anything
    run_id = runs.new_run_id()
    started = time.time()
    about: dict[str, Any] = {
        "started": started,
        "driver": f"{socket.gethostname()}:{os.getpid()}",
        "part": config.input.part,
        "retry_failed": plan.retry_failed,
        "prompt_sets": [prompt_set.name for prompt_set in settled.prompt_sets],
        "shards": plan.work.shards,
    }
    record: dict[str, Any] = {
        "run_id": run_id,
        "started": started,
        "config": config.resolved(),
        "passed_over": dict(plan.listing.passed),
        "fingerprint": settled.record.fingerprint,
        "prompt_sets": about["prompt_sets"],
        "versions": _versions(),
    }
    state, message, code = "failed", "", INCOMPLETE
    with Reporter(run_id, plan.work) as reporter, Heartbeat(store, reporter, about) as heartbeat:
        try:
            work = _looked(settled, plan, record, reporter)
            if work.complete:
                done = nothing_to_do(plan, work)
                code, message = done.code, done.message
            else:
                pool = pool_of(config.pool, device, cluster, chunks_at_most(work))
                reporter.say(yaml_text.dump(config.changed()).rstrip())
                reporter.say(_opening(settled, work, pool))
                code, message = _passes(settled, work, pool, reporter)
            state = "complete" if code == COMPLETE else "incomplete"
        except KeyboardInterrupt:
            state, code = "interrupted", INTERRUPTED
            message = interrupted(invocation)
        except RunStopped as stop:
            state, message = "stopped", f"{stop}\nFinished chunks are kept; run again to go on: {invocation}"
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"
            raise
        finally:
            record |= {
                "state": state,
                "message": message,
                "seconds": round(time.time() - started, 1),
                "totals": reporter.totals.as_json(),
            }
            try:
                heartbeat.end(state, message)
                runs.write_record(store, run_id, record)
            except Exception as error:  # the outcome stands, and is printed
                reporter.say(f"the run's record could not be written: {last_line(error)}")
    return Outcome(code, message, run_id, record["totals"])


def _looked(settled: Settled, plan: Plan, record: dict[str, Any], reporter: Reporter) -> Work:
    """What the dataset lacks, now that this run's heartbeat announces it to others; puts the run's record."""
    store = plan.store
    retry.refuse_beside(store, record["run_id"], retry_failed=plan.retry_failed)
    retrying.clear(store, plan.redo, plan.all_sets)
    work = settled.survey()
    reporter.planned(work)
    record["planned"] = {"shards": work.shards, "chunks": work.chunks_estimate, "chunks_done": work.chunks_done}
    with plain_errors(store.url):
        runs.write_record(store, record["run_id"], {**record, "state": "running"})
    return work


def device_for(plan: Plan, cluster: Capacity) -> str:
    """Where to compute; ``auto`` takes what the dataset was made on."""
    wish, gpus = plan.config.model.device, plan.config.pool.gpus
    if wish == "auto" and gpus is None and plan.present is not None:
        return str(plan.present.compute["device"])
    return device_of(wish, gpus, cluster)


def _passes(settled: Settled, work: Work, pool: Pool, reporter: Reporter) -> tuple[int, str]:
    """``_all_passes``; storage that cannot be read on the way stops the run like anything else that happens to it."""
    try:
        return _all_passes(settled, work, pool, reporter)
    except OutputLost as lost:
        return INCOMPLETE, str(lost)
    except UserError as error:
        raise RunStopped(str(error)) from error


def _all_passes(settled: Settled, work: Work, pool: Pool, reporter: Reporter) -> tuple[int, str]:
    """The main pass, then, for what it left out, one isolating pass; what fails there is reported."""
    reporter.doing = "computing"
    failures = _one_pass(settled, work.todo, pool, reporter, isolate=False)
    reporter.doing = "looking for what is missing"
    left = settled.survey_again()
    if not left.complete:
        reporter.say(f"{len(failures) or 'Some'} chunk(s) failed; trying what is missing once more, one at a time")
        reporter.surveyed(left, list(left.missing()), "trying what is missing once more, one chunk at a time")
        again = [replace(item, only=_chunks(item)) for item in left.todo]
        smaller = pool.at_most(chunks_at_most(left))
        failures = _one_pass(settled, again, smaller, reporter, isolate=True)
        reporter.doing = "looking for what is missing"
        left = settled.survey_again()
    missing = list(left.missing())
    reporter.surveyed(left, missing, "checking that no image id occurs twice")
    seconds = reporter.snapshot()["elapsed_s"]
    totals = reporter.totals
    if left.complete:
        if conflicts := list(totals.conflicts.values()):
            return (
                INCOMPLETE,
                f"{len(conflicts)} chunk(s) were computed here and by another run, and differ:\n{named(conflicts)}",
            )
        plan = settled.plan
        if fault := unsound(plan.store, plan.listed):
            return INCOMPLETE, fault
        bad = totals.images - totals.statuses.get("ok", 0)
        part = plan.config.input.part
        whole = "Complete" if part is None else f"Complete for input.part {part} (the other parts are other runs')"
        ours = "" if totals.images == left.images_known else f"; this run {totals.images} of them"
        said = closing.remarks(plan.listing.passed, left.further, totals.statuses, plan.store.url)
        if plan.phrases and not totals.phrases and totals.statuses["ok"]:
            said.append(closing.without_phrases(plan.phrases.field, plan.source, settled.shards[:1]))
        if totals.cut:
            said.append(phrases_cut(totals.cut))
        return COMPLETE, "\n".join(
            [
                f"{whole}: {left.images_known} images{ours} ({bad} without masks, see images.status), {totals.masks} "
                f"masks ({totals.nonempty} not empty), {totals.bytes / 1e6:.1f} MB in {seconds:.1f} s → "
                f"{plan.store.url}",
                *said,
            ]
        )
    causes = "\n".join(f"  {cause}" for cause in list(dict.fromkeys(failures))[:5])
    return INCOMPLETE, (
        f"Incomplete: {len(missing)} chunk(s) or shard(s) of {settled.plan.store.url} are missing:\n{named(missing)}"
        + (f"\n because:\n{causes}" if causes else "\n no worker reported a cause")
        + "\n  Run again to retry them."
    )


def _one_pass(
    settled: Settled, todo: Sequence[ShardWork], pool: Pool, reporter: Reporter, *, isolate: bool
) -> list[str]:
    """Run the graph once over ``todo``; the causes of chunks that failed. Raises RunStopped from the breaker."""
    breaker = Breaker()
    watch = _Watch(settled, pool, reporter, None if isolate else breaker)

    def lost(cause: str) -> None:
        cause = f"its worker died each time ({cause.rstrip('.')})"
        reporter.totals.failures.add(cause)
        breaker.chunk_failed(cause)

    found = graph.results(
        settled.reader, todo, settled.spec, pool, isolate=isolate, watch=watch.step, lost=lost, look=watch.look
    )
    try:
        for result in found:
            watch.progressed()
            reporter.add(result)
            raise_if_asked()
            if result.failure is None:
                breaker.succeeded()
            elif result.chunk == WHOLE_SHARD:
                breaker.shard_unread(result.failure)
            else:
                breaker.chunk_failed(result.failure, hosts_gone=result.hosts_gone)
            if not isolate:
                breaker.check()
    except (RunStopped, KeyboardInterrupt):
        raise
    except Exception as error:
        raise_if_asked()  # what Ray makes of an interrupt is no error of its own
        raise RunStopped(breaker.reason or last_line(error)) from error
    finally:
        watch.stop()
        found.close()
    return breaker.causes


class _Watch:
    """Reports what Ray Data does, and ends a run for which nothing can be scheduled.

    Ray Data reports to it from a thread of its own, which may hang in a call to a worker that is gone; the
    verdict is found in ``look``, which the run's own thread calls.
    """

    def __init__(self, settled: Settled, pool: Pool, reporter: Reporter, breaker: Breaker | None) -> None:
        self._breaker = breaker
        self._wait_s = settled.plan.config.pool.wait_s
        self._pool = pool
        self._reporter = reporter
        self._ready_at = time.monotonic()
        self._reported = False
        self._nodes = NodeWatch(reporter, pool.needs)
        self._report(PoolState())

    def progressed(self) -> None:
        """Something came out of the pool."""
        self._ready_at = time.monotonic()

    def stop(self) -> None:
        """No more word of nodes."""
        self._nodes.stop()

    def step(self, state: PoolState) -> None:
        """Ray Data's view of the pool, where Ray reports it."""
        self._report(state)
        self._nodes.actors(state.running, state.pending)
        self._reported = True
        if state.running is None or state.running:
            self._ready_at = time.monotonic()

    def look(self) -> None:
        """Raise RunStopped when the breaker says so, or when nothing was ready or done for ``pool.wait_s``."""
        if self._breaker is not None:
            self._breaker.check()
        waited = time.monotonic() - self._ready_at
        if self._reported and waited > self._wait_s:
            there = f"; {self._nodes.there}" if self._nodes.there else ""
            raise RunStopped(f"Nothing could start for {waited:.0f} s: an actor needs {self._pool.needs}{there}.")

    def _report(self, state: PoolState) -> None:
        self._reporter.actors, self._reporter.actors_pending = state.running, state.pending
        self._reporter.queue = state.queue


def _chunks(item: ShardWork) -> frozenset[int] | None:
    missing = item.missing()
    return None if missing is None else frozenset(missing)


def _opening(settled: Settled, work: Work, pool: Pool) -> str:
    compute = settled.record.compute
    about = "about " if work.shards_unread else ""
    return (
        f"{work.shards} shard(s), {about}{work.chunks_estimate} chunk(s) ({work.chunks_done} done), "
        f"{queries_text(settled.plan)}, up to {pool.max} actor(s) {_waits(pool)}on {compute['device']} in "
        f"{compute['precision']} "
        f"({compute['reason']}), "
        f"{'compiled' if compute['compile'] else 'not compiled'}, "
        f"fingerprint {settled.record.fingerprint} → {settled.plan.store.url}"
    )


def _waits(pool: Pool) -> str:
    return f"(room for {pool.room} now, others wait for nodes) " if pool.actor_gpus and pool.max > pool.room else ""


def _versions() -> dict[str, str]:
    names = ("ray", "torch", "tokenizers", "pyarrow", "numba", "simplejpeg", "pillow")
    # Ours by the code that runs: in a checkout that only lies on the path there is no installed package to ask.
    ours = {"python": platform.python_version(), "clipseg-ray": __version__}
    return {**ours, **{name: importlib.metadata.version(name) for name in names}}
