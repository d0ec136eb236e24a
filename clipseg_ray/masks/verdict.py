"""Who takes which pixel of a contest: from the logits of its prompts to one map for each of its queries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import cast

import numpy as np
import torch
from torch import Tensor

from clipseg_ray.masks.competition import Contest, Expression, affirmed
from clipseg_ray.masks.contest_kernel import take
from clipseg_ray.masks.log_sigmoid import log_sigmoid

LOST = torch.finfo(torch.float32).min
"""The logit of a query where it may not take the pixel: finite, and a probability of 0."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """One group of a contest. row_g: its members' logits among the contest's, in the table's order.

    member_k: which of them are written. output_k: where among the contest's outputs. log_weight_g1: float32, of
    their weights. weighted: whether any of these is not 1.
    """

    row_g: Tensor
    member_k: Tensor
    output_k: Tensor
    log_weight_g1: Tensor
    weighted: bool


class Verdict:
    """Decides one contest on a device, image after image. Shapes follow from the contest; nothing waits for a GPU."""

    def __init__(self, contest: Contest, device: torch.device) -> None:
        self._contest = contest
        members: dict[tuple[tuple[int, ...], tuple[float, ...]], list[int]] = {}
        for k, output in enumerate(contest.outputs):
            if output.group:
                members.setdefault((output.group, output.weights), []).append(k)
        self.groups = [self._prepared(*group, output_k, device) for group, output_k in members.items()]

    def _prepared(
        self, group: tuple[int, ...], weights: tuple[float, ...], output_k: list[int], device: torch.device
    ) -> Group:
        member_k = [group.index(cast(int, self._contest.outputs[k].logits)) for k in output_k]
        log_weights = torch.tensor([[math.log(weight)] for weight in weights], dtype=torch.float32)
        return Group(
            row_g=torch.tensor(group).to(device),
            member_k=torch.tensor(member_k).to(device),
            output_k=torch.tensor(output_k).to(device),
            log_weight_g1=log_weights.to(device),
            weighted=any(weight != 1 for weight in weights),
        )

    def maps(self, logits_mn: Tensor) -> Tensor:
        """The logit of each query where it takes the pixel, ``LOST`` elsewhere: float32 [k, n].

        logits_mn: float32 [m, n] of any n pixels, the prompts in the contest's order, finite.
        """
        maps_kn = logits_mn.new_empty((len(self._contest.outputs), logits_mn.shape[1]))
        exclude = exclude_on_cpu if logits_mn.device.type == "cpu" else exclude_with_torch
        for group in self.groups:
            exclude(logits_mn, group, maps_kn)
        for k, output in enumerate(self._contest.outputs):
            own_n = self._value(output.logits, logits_mn)
            if not output.group:
                maps_kn[k] = own_n
            for rival in output.rivals:
                maps_kn[k].masked_fill_(own_n <= self._value(rival, logits_mn), LOST)
        return maps_kn

    def presence(self, cosine_m: Tensor) -> Tensor:
        """[k]: each query's, from those of the prompts; of an expression the least and greatest of what it affirms."""
        asked = [affirmed(output.logits) for output in self._contest.outputs]
        return torch.stack(
            [
                self._value(output.logits if own is None else own, cosine_m)
                for output, own in zip(self._contest.outputs, asked, strict=True)
            ]
        )

    def reaches(self, highest_m: np.ndarray, threshold_logit_k: np.ndarray) -> bool:
        """Whether any query may take a pixel above its threshold, by each prompt's highest logit alone."""
        return any(
            not isinstance(output.logits, int) or highest_m[output.logits] > limit
            for output, limit in zip(self._contest.outputs, threshold_logit_k, strict=True)
        )

    def _value(self, expression: Expression, values_m: Tensor) -> Tensor:
        """Of one expression, from the prompts' values, in the shape of one of them."""
        if isinstance(expression, int):
            return values_m[expression]
        operator, operands = expression
        if operator == "not":
            return -self._value(operands[0], values_m)
        extreme = torch.minimum if operator == "and" else torch.maximum
        return reduce(extreme, (self._value(operand, values_m) for operand in operands))


def exclude_with_torch(logits_mn: Tensor, group: Group, maps_kn: Tensor) -> None:
    """Fill the maps of one group's queries, on any device."""
    own_gn = logits_mn[group.row_g]
    key_gn = log_sigmoid(own_gn) + group.log_weight_g1 if group.weighted else own_gn
    wins_kn = key_gn.argmax(0) == group.member_k[:, None]  # the first of the greatest
    maps_kn.index_copy_(0, group.output_k, torch.where(wins_kn, own_gn[group.member_k], LOST))


def exclude_on_cpu(logits_mn: Tensor, group: Group, maps_kn: Tensor) -> None:
    """The same in machine code: PyTorch takes twenty times as long to find where a maximum is."""
    take(
        logits_mn.numpy(),
        row_g=group.row_g.numpy(),
        log_weight_g=group.log_weight_g1.flatten().numpy(),
        weighted=group.weighted,
        member_k=group.member_k.numpy(),
        output_k=group.output_k.numpy(),
        lost=np.float32(LOST),
        maps_on=maps_kn.numpy(),
    )
