"""How far a dataset and its runs are, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clipseg_ray.results.backlog import Backlog
from clipseg_ray.results.status import NONE, RUNNING, STALE, Run, Status

SHARDS_SHOWN = 10
CAUSES_SHOWN = 5
_REPORTED = ("complete", "incomplete")
"""Ends whose message says no more than the numbers and what is missing."""
_STEPS = ("read", "decode", "model", "rle", "write")


def line(values: Mapping[str, Any]) -> str:
    """One heartbeat on one line: chunks, rates over the last minutes and the whole run, actors, failures, time left.

    Before the first chunk it is what the run waits for, or the actors. ``values``: those of a status file.
    """
    parts = [f"chunks {values['chunks_done']}/{_total(values)}"]
    if values["chunks"] or values["failed_chunks"]:
        parts += _pace(values)
    elif not values["waits_for"]:
        parts.append(f"actors {_number(values['actors'])}")
    return " · ".join([*parts, values["waits_for"]] if values["waits_for"] else parts)


def _pace(values: Mapping[str, Any]) -> list[str]:
    return [
        f"images/s {values['images_per_s']:.1f} (whole run {values['images_per_s_lifetime']:.1f})",
        f"masks/s {values['masks_per_s']:.0f}",
        f"actors {_number(values['actors'])}",
        f"failed {values['failed_chunks']}",
        f"ETA {duration(values['eta_s'])}",
    ]


def duration(seconds: float | None) -> str:
    """``2d04h``, ``3h05m``, ``2m07s``; ``?`` for None."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, of_day = divmod(hours, 24)
    if days:
        return f"{days}d{of_day:02d}h"
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


def text(status: Status, backlog: Backlog | None = None) -> str:
    """The whole of it: the dataset, each run that counts, and with ``backlog`` its prompt sets and shards."""
    lines = [
        f"{status.url}  {status.state}",
        f"  fingerprint {status.fingerprint}, {sum(count for _, count in status.prompt_sets)} queries",
    ]
    if status.state == NONE:
        lines.append("  no run has begun")
    for run in status.runs:
        lines += ["", *run_lines(run)]
    if status.earlier:
        lines += ["", f"{status.earlier} earlier run(s), in _runs/"]
    if backlog is not None:
        lines += ["", *_backlog_lines(backlog)]
    return "\n".join(lines)


def run_lines(run: Run) -> Iterator[str]:
    """One run, several lines."""
    values = run.values
    share = f", part {run.part}" if run.part else ""
    yield f"run {run.run_id}{share}: {_state(run)}"
    if "chunks_done" in values:
        yield from _progress(run, values)
    elif run.state == STALE:
        yield "  cut off before its first heartbeat; run it again"
    if values.get("message") and run.state not in _REPORTED:
        yield from (f"  {part}" for part in values["message"].splitlines())


def _state(run: Run) -> str:
    ago = "" if run.age_s is None else f", last heartbeat {duration(run.age_s)} ago"
    if run.state == RUNNING:
        return f"{run.values.get('doing') or 'running'}{ago}"
    if run.state == STALE:
        return f"stale{ago}: its driver ({run.values.get('driver', '?')}) died or lost the storage; run it again"
    return f"{run.state}{ago.replace('last heartbeat', 'ended')}"


def _progress(run: Run, values: Mapping[str, Any]) -> Iterator[str]:
    share = f" ({100 * values['chunks_done'] / values['chunks_total']:.1f} %)" if values["chunks_total"] else ""
    took = f"{duration(values['elapsed_s'])}{' so far' if run.state == RUNNING else ''}"
    yield f"  chunks    {values['chunks_done']}/{_total(values)}{share}, {took}"
    if run.state == RUNNING:
        yield (
            f"  rates     images/s {values['images_per_s']:.1f} (whole run {values['images_per_s_lifetime']:.1f}), "
            f"masks/s {values['masks_per_s']:.0f} (whole run {values['masks_per_s_lifetime']:.0f})"
        )
        yield f"  left      {duration(values['eta_s'])}; the last chunk came {duration(values['last_chunk_s'])} before"
        ready, queue = _number(values["actors"]), _number(values["queue"])
        pending = f", {values['actors_pending']} starting or waited for" if values["actors_pending"] else ""
        yield f"  actors    {ready} ready{pending}; {queue} chunk(s) read and waiting"
        if values["waits_for"]:
            yield f"  waits     {values['waits_for']}"
    else:
        yield (
            f"  rates     images/s {values['images_per_s_lifetime']:.1f}, masks/s {values['masks_per_s_lifetime']:.0f}"
        )
    yield f"  this run  {_done(values)}"
    if total := sum(values["seconds_by_step"].values()):
        steps = values["seconds_by_step"]
        yield "  time in   " + ", ".join(f"{step} {steps[step] / total:.0%}" for step in _STEPS if step in steps)
    yield from _failures(values)


def _done(values: Mapping[str, Any]) -> str:
    bad = {status: count for status, count in values["images_by_status"].items() if status != "ok"}
    without = f" ({', '.join(f'{count} {status}' for status, count in sorted(bad.items()))})" if bad else ""
    return (
        f"{values['images']} images{without}, {values['masks']} masks ({values['nonempty_masks']} not empty), "
        f"{values['bytes'] / 1e6:.1f} MB"
    )


def _failures(values: Mapping[str, Any]) -> Iterator[str]:
    if values["failed_chunks"]:
        yield f"  failed    {values['failed_chunks']} tries of chunks"
    for found in values["failures"][:CAUSES_SHOWN]:
        yield f"    {found['chunks']} × {found['cause']}"
        yield from (f"        {example}" for example in found["examples"])
    if len(values["failures"]) > CAUSES_SHOWN:
        yield f"    … and {len(values['failures']) - CAUSES_SHOWN} more causes"
    if values["missing_chunks"]:
        yield f"  missing   {values['missing_chunks']} chunk(s) or shard(s)"
        for item in values["missing"]:
            what = "not read to its end" if item["chunk"] is None else f"chunk {item['chunk']} ({item['part']})"
            yield f"    {item['path']}: {what}" + (f": {item['cause']}" if item["cause"] else "")
        if values["missing_chunks"] > len(values["missing"]):
            yield f"    … and {values['missing_chunks'] - len(values['missing'])} more"


def _total(values: Mapping[str, Any]) -> str:
    return f"{'~' if values['chunks_total_is_estimate'] else ''}{values['chunks_total']}"


def _number(value: int | None) -> str:
    return "?" if value is None else str(value)


def _backlog_lines(backlog: Backlog) -> Iterator[str]:
    yield (
        f"shards: {backlog.shards} listed, {backlog.finished} finished, {backlog.under_way} under way, "
        f"{backlog.untouched} untouched; {backlog.unread} not read to their end; images parts: {backlog.images_parts}"
    )
    if backlog.disagreeing:
        yield (
            f"{len(backlog.disagreeing)} masks part(s) do not go with their images part or the record; "
            "clipseg-ray verify says how:"
        )
        yield from (f"  {path}" for path in backlog.disagreeing[:SHARDS_SHOWN])
    at_least = "at least " if backlog.unread else ""
    for item in backlog.sets:
        yield f"{item.name}: {item.queries} queries, masks parts {item.done} of {at_least}{item.total}"
    for shard in backlog.unfinished[:SHARDS_SHOWN]:
        yield f"  {shard.path} ({shard.shard}): {shard.done} of {'?' if shard.total is None else shard.total} chunks"
    left = backlog.shards - backlog.finished - len(backlog.unfinished[:SHARDS_SHOWN])
    if left > 0:
        yield f"  … and {left} more unfinished shard(s)"
