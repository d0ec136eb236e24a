"""Queries that compete: the device's verdicts against those of the CPU on the same logits, and what they cost.

The CPU decides in machine code of its own, a GPU by PyTorch's kernels: where a kernel rounds otherwise, or a maximum is
not the first of its equals, pixels change hands.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.gpu import models
from benchmarks.gpu.answers import Answers
from benchmarks.gpu.part import Finding, Setting
from benchmarks.gpu.stopwatch import seconds
from clipseg_ray.masks.competition import Competition, Contest, Output
from clipseg_ray.masks.verdict import Verdict
from clipseg_ray.model.program import Program


def compare(setting: Setting) -> Finding:
    """A group of 20 with a weighted background, and two of its members that are suppressed and combined besides."""
    values = {
        "verdicts": _verdicts(setting),
        **{precision: _cost(setting, precision) for precision in ("fp32", "bf16")},
    }
    verdicts = values["verdicts"]
    summary = f"{verdicts['values_differ']} of {verdicts['values']} values differ from the CPU's"
    if verdicts["captured"] is not None:
        summary += f", {'the same' if verdicts['captured'] else 'OTHERS'} in a graph"
    for precision in ("fp32", "bf16"):
        found = values[precision]
        repeated = "identical" if found["identical"] else "DIFFER"
        summary += f"; {precision}: {found['times_alone']:.2f}× the time of the same alone, repeats {repeated}"
    agrees = not verdicts["values_differ"] and verdicts["captured"] is not False
    return Finding(summary, values, agrees and all(values[name]["identical"] for name in ("fp32", "bf16")))


def _competition(members: int) -> Competition:
    """Over as many prompts, the first of which is the background."""
    group, weights = tuple(range(members)), (3.0, *(1.0,) * (members - 1))
    outputs = [Output(query=k, logits=k, group=group, weights=weights) for k in group]
    outputs.append(Output(query=members, logits=1, rivals=(2, ("or", (3, ("not", (0,)))))))
    outputs.append(Output(query=members + 1, logits=("and", (1, ("not", (("or", (2, 3)),))))))
    return Competition((Contest(prompts=group, outputs=tuple(outputs)),), (-1,) * len(outputs))


def _verdicts(setting: Setting) -> dict[str, Any]:
    """On logits with many ties, and the same in a graph where there are any."""
    members, side = (5, 40) if setting.small else (20, 352)
    rng = np.random.default_rng(2)
    smooth = torch.from_numpy(rng.normal(0, 4, (members, side * side)).astype(np.float32))
    logits_mn = torch.where(torch.from_numpy(rng.random((members, side * side)) < 0.5), smooth.round(), smooth)
    (contest,) = _competition(members).contests
    expected = Verdict(contest, torch.device("cpu")).maps(logits_mn)
    device = torch.device(setting.device)
    verdict, on_device = Verdict(contest, device), logits_mn.to(device)
    found = verdict.maps(on_device).cpu()
    captured = None
    if device.type == "cuda":
        (again,) = Program(verdict.maps, device, compile=False)(on_device)
        captured = torch.equal(again.cpu(), found)
    return {"values": found.numel(), "values_differ": int((found != expected).sum()), "captured": captured}


def _cost(setting: Setting, precision: str) -> dict[str, Any]:
    members = 5 if setting.small else 20
    competition = _competition(members)
    engine = models.engine(setting, precision)
    features = engine.encode(models.pixels(setting, 2 if setting.small else 2 * engine.batch))
    prompts = engine.embed(models.conditionals(setting, members))
    limits_q = np.zeros(len(competition.alone), np.float32)

    def answers() -> Answers:
        return Answers.gathered(engine.segment(features, prompts, limits_q, competition=competition))

    def alone() -> Answers:
        return Answers.gathered(engine.segment(features, prompts, limits_q[:members]))

    first = answers()
    identical = all(first.identical(answers()) for _ in range(2 if setting.small else 4))
    competing_s, alone_s = (seconds(run, setting.device) for run in (answers, alone))
    return {
        "members": members,
        "identical": identical,
        "competing_s": competing_s,
        "alone_s": alone_s,
        "times_alone": competing_s / alone_s,
    }
