"""A run handed to a cluster: what is there already is reported, otherwise the next attempt is submitted.

A submission's id says what it is for, ``clipseg-<16 hex>-a<attempt>``: the hex digits hash the output, everything that
changes a mask, the prompt set and the input's listing. Ray refuses an id that was ever used, hence the attempt.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipseg_ray.config import RunConfig
from clipseg_ray.errors import UserError
from clipseg_ray.pipeline.outcome import nothing_to_do
from clipseg_ray.pipeline.plan import Plan, asked, input_settings, look, mask_settings
from clipseg_ray.queries.naming import set_name
from clipseg_ray.submit import bundle as parcel
from clipseg_ray.submit.job_server import JobServer

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

_OUTPUT = "clipseg_ray.output"
"""The metadata key under which a job carries the URL it writes to."""
_PART = "clipseg_ray.part"
"""The metadata key under which a job carries its share of the shards, ``i/n``; nothing for all."""


@dataclass(frozen=True)
class Request:
    """What a person asked for: the configuration, the name of its file, the cluster, and how it was asked."""

    config: RunConfig
    name: str
    address: str
    command: str


def submit(request: Request, *, follow: bool) -> int:
    """Submit a run, unless it is running or done; returns the exit code of the command.

    Raises UserError when the cluster cannot be used, when it could not see what the configuration names, and for
    anything that would stop the run.
    """
    server = JobServer(request.address)
    shared = _refuse_local_data(server, request.config)
    plan = look(request.config)
    if plan.nothing_left:
        outcome = nothing_to_do(plan, plan.work)
        print(outcome.message, file=sys.stdout if outcome.code == 0 else sys.stderr)
        return outcome.code
    base = identity(plan)
    running, new = _start(server, request, plan, base, shared=shared)
    if not new:
        _say(f"{running} is running already on {server.address}; nothing was submitted")
    else:
        for warning in plan.warnings:
            _say(f"warning: {warning}")
        work = plan.work
        about = "about " if work.shards_unread else ""
        _say(f"{running} submitted to {server.address}: {about}{work.chunks_left} chunk(s) → {plan.store.url}")
    if not follow:
        print(_what_next(request, server, running, plan), flush=True)
        return 0
    return _follow(server, request, running)


def identity(plan: Plan) -> str:
    """The part of a submission's id that is the same for every attempt at the same masks of the same images."""
    config = plan.config
    model = config.model.model_dump(mode="json")
    wanted = {
        "output": plan.store.url,
        "part": config.input.part,
        "input": input_settings(config, plan.listing.format, ""),
        "shards": sorted(shard.shard_id for shard in plan.shards),
        "masks": mask_settings(config),
        "model": {**model, "batch": config.pool.batch, "gpus": config.pool.gpus},
        "prompt_set": set_name(asked(plan.queries, plan.phrases)),
    }
    return f"clipseg-{hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]}"


def _refuse_local_data(server: JobServer, config: RunConfig) -> bool:
    """Whether the cluster shares this machine's files; raises UserError where it would have to and does not."""
    shared = server.shares_this_machine
    local = parcel.local_data(config)
    if local and not shared:
        raise UserError(
            f"{server.address}: the cluster cannot see this machine's files, and these are some: {', '.join(local)}; "
            "put them where both can reach them (s3://…), or submit from a node of the cluster"
        )
    return shared


def _attempt(job: JobDetails, base: str) -> int:
    """Which attempt of ``base`` a job is, from 1; 0 for every other job."""
    match = re.fullmatch(rf"{base}-a(\d+)", job.submission_id or "")
    return int(match[1]) if match else 0


def _running(jobs: list[JobDetails], base: str) -> str | None:
    """The newest attempt that has not ended."""
    live = [(_attempt(job, base), job.submission_id) for job in jobs if not job.status.is_terminal()]
    return max((found for found in live if found[0]), default=(0, None))[1]


def _start(server: JobServer, request: Request, plan: Plan, base: str, *, shared: bool) -> tuple[str, bool]:
    """Submit the next attempt, unless one is running; returns the id of the one that runs, and whether it is new."""
    entrypoint = f"python -m clipseg_ray run {shlex.quote(request.name)}"
    metadata = {_OUTPUT: plan.store.url, _PART: request.config.input.part or ""}
    with parcel.packed(request.config, request.name, shared=shared) as folder:
        number = 0
        while True:
            jobs = server.jobs()
            if running := _running(jobs, base):
                return running, False
            number = max([number, *(_attempt(job, base) for job in jobs)]) + 1
            submission_id = f"{base}-a{number}"
            if server.submit(submission_id, entrypoint, folder, metadata):
                _report_others(jobs, metadata)
                return submission_id, True


def _report_others(jobs: list[JobDetails], ours: dict[str, str]) -> None:
    i, _, n = ours[_PART].partition("/")
    for job in jobs:
        theirs = job.metadata or {}
        other_i, _, other_n = theirs.get(_PART, "").partition("/")
        if n and other_n == n and other_i != i:  # two shares of the same cut have no shard in common
            continue
        if not job.status.is_terminal() and theirs.get(_OUTPUT) == ours[_OUTPUT]:
            _say(
                f"note: {job.submission_id} is running into the same output with other queries, images or settings; "
                "what both lack, both may compute"
            )


def _follow(server: JobServer, request: Request, submission_id: str) -> int:
    started = time.monotonic()
    try:
        code = server.follow(submission_id, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        _say(f"No longer following {submission_id}, which goes on; to stop it: {_stop(server, submission_id)}")
        return 130
    _say(f"{submission_id} ended with exit code {code}, followed for {time.monotonic() - started:.0f} s")
    if code:
        _say(f"To go on where it stopped, submit it again: {request.command}")
    return code


def _what_next(request: Request, server: JobServer, submission_id: str, plan: Plan) -> str:
    return "\n".join(
        [
            f"  follow: {request.command} --follow",
            f"  status: clipseg-ray status {plan.store.url}",
            f"  stop:   {_stop(server, submission_id)}",
        ]
    )


def _stop(server: JobServer, submission_id: str) -> str:
    return f"ray job stop --address {server.address} {submission_id}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
