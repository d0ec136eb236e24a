"""What ``run --retry-failed`` takes up again, and when it may."""

from __future__ import annotations

from collections.abc import Sequence

from clipseg_ray.errors import UserError
from clipseg_ray.results import layout, retrying, status
from clipseg_ray.results.record import DatasetRecord
from clipseg_ray.results.retrying import Redo
from clipseg_ray.results.sets import Assignment, SetRecord
from clipseg_ray.sources.base import Shard, Source
from clipseg_ray.storage import Store


def refuse(store: Store, present: DatasetRecord | None, known: Sequence[SetRecord], assignment: Assignment) -> None:
    """Refuse to take up again what another run is writing, or what this run could not compute.

    Masks of all prompt sets go with the images they were computed from; the queries of a set are in the dataset, but
    phrases come from the input, from a field that the run must name.
    """
    if present is not None and not present.exclusive_create:
        raise UserError(
            f"{store.url}: this storage overwrites what it is asked to create (the first run tried), so that a run "
            "that only seems dead could put back what --retry-failed removes; once no run is alive, remove the parts "
            "of those chunks by hand, from every folder of masks/ and then from images/, and run without it"
        )
    asked = {owner.name for owner in assignment.present}
    for owner in known:
        fields = [item["from"] for item in owner.definitions.values() if "from" in item]
        if fields and owner.name not in asked:
            raise UserError(
                f"{store.url}: it also has masks of the images' phrases in {fields[0]!r} ({owner.name}), which must "
                f"be computed again with the others; set queries.from: {fields[0]} as the run that made them did"
            )
    if known:
        refuse_beside(store, None, retry_failed=True)


def refuse_beside(store: Store, run_id: str | None, *, retry_failed: bool) -> None:
    """Refuse to run beside a run that takes up again what failed, or to be that run beside another.

    Such a run changes rows of ``images`` that another goes by. ``run_id``: this run, which is not meant; each looks
    after its own first heartbeat, so that of two that begin together at least one sees the other.
    """

    def concerns(run: status.Run) -> bool:
        return run.run_id != run_id and bool(retry_failed or run.values.get("retry_failed"))

    for run in status.alive(store, concerns):
        what = "run --retry-failed" if retry_failed else "it is taking up what failed (run --retry-failed); run again"
        raise UserError(
            f"{store.url}: run {run.run_id} is writing to it ({run.values.get('driver')}); {what} once it has ended"
        )


def owners(store: Store, known: Sequence[SetRecord], assignment: Assignment) -> list[SetRecord]:
    """The prompt sets to complete: those asked for, and any other that has its table of queries."""
    asked = {owner.name for owner in assignment.present}
    return [owner for owner in known if owner.name in asked or store.exists(layout.queries_file(owner.name))]


def redo(store: Store, source: Source, shards: Sequence[Shard]) -> list[Redo]:
    """Chunks of these shards with images that were not found or reached. A shard that holds its images has none of
    these: what it lacks, it lacks for ever."""
    return retrying.find(store, shards) if source.outside else []
