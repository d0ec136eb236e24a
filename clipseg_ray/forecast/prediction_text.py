"""A measurement and what it predicts, in words."""

from __future__ import annotations

from collections.abc import Sequence

from clipseg_ray.forecast.measurement import Measurement
from clipseg_ray.forecast.prediction import CORES, DRIVER, MODEL, READERS, SHARDS, Prediction, Scale
from clipseg_ray.forecast.step_costs import STEPS
from clipseg_ray.report.status_text import duration

_LIMITS = {
    MODEL: "the model",
    CORES: "CPU cores",
    READERS: "reading",
    SHARDS: "too few shards",
    DRIVER: "the driver",
}


def prediction_text(found: Measurement, predicted: Prediction) -> str:
    """Lines to follow those of the plan."""
    costs, job, last = found.costs, found.job, predicted.scales[-1]
    whole = sum(costs.wall_s.values())
    shares = ", ".join(f"{_name(step)} {_percent(costs.wall_s[step] / whole)}" for step in STEPS)
    shortest = min(costs.measured_s.values())
    lines = [
        f"measured  {costs.images} images of {costs.shards} shard(s) in {duration(found.seconds)}, each step for "
        f"{shortest:.0f} s or more, on {found.device} in {found.precision}; nothing of it was kept",
        f"          one process: {1000 * whole:.3g} ms an image: {shares}",
    ]
    if job is not None:
        lines.append(
            f"          the job with {job.actors} actor(s): {job.images_per_s:.3g} images/s, "
            f"{job.images_per_s * costs.masks:.3g} masks/s; {job.start_s:.0f} s until all were at work"
        )
    if costs.masks:
        lines.append(
            f"          {costs.masks:.3g} masks an image, {_percent(costs.nonempty)} of them not empty; "
            f"{costs.output_bytes / costs.masks:.0f} bytes a mask"
        )
    if found.device == "cpu" and (share := costs.cpu_s["model"] / costs.wall_s["model"]) < 0.8:
        lines.append(f"          other work left the model {_percent(share)} of a core; without it a run is faster")
    if costs.undecodable:
        lines.append(f"          {_percent(costs.undecodable)} of the images cannot be decoded")
    left = predicted.left
    lines += [
        f"the run   {left.images:,} images in {left.chunks:,} chunk(s), {predicted.masks:,} masks, "
        f"{_bytes(predicted.output_bytes)} to write; start and final checks {duration(predicted.overhead_s)}",
        *_table(predicted.scales, predicted.currency),
        f"limit     {_LIMITS[last.limit]}; next {_LIMITS[predicted.next_limit]}, "
        f"at {predicted.next_ratio:.2g} × this rate",
        f"cores     {predicted.cores_needed:.2g} CPU cores keep {'a GPU' if last.gpu_nodes else 'an actor'} busy, "
        f"{predicted.cores_there:.2g} are there",
        *(f"warning   {warning}" for warning in predicted.warnings),
    ]
    return "\n".join(lines)


def _table(scales: Sequence[Scale], currency: str) -> list[str]:
    rows = [["actors", "nodes", "images/s", "time", "cost", "limit"]]
    rows += [
        [
            f"{scale.actors}",
            f"{scale.gpu_nodes} GPU" + (f" + {scale.cpu_nodes}" if scale.cpu_nodes else "")
            if scale.gpu_nodes
            else f"{scale.cpu_nodes}",
            f"{scale.images_per_s:.3g}" if scale.images_per_s < 1000 else f"{scale.images_per_s:,.0f}",
            duration(scale.seconds),
            "" if scale.cost is None else f"{scale.cost:,.2f} {currency}",
            _LIMITS[scale.limit],
        ]
        for scale in scales
    ]
    if all(scale.cost is None for scale in scales):
        rows = [[cell for place, cell in enumerate(row) if place != 4] for row in rows]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "          "
        + "  ".join(cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=False))
        + f"  {row[-1]}"
        for row in rows
    ]


def _name(step: str) -> str:
    return "RLE" if step == "rle" else step


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 or not share else f"{100 * share:.1f} %"


def _bytes(count: int) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"
