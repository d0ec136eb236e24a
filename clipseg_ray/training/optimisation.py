"""One step of the optimiser: precision, gradients over all workers, rate, running mean of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.func import functional_call
from torch.optim.swa_utils import get_ema_multi_avg_fn

from clipseg_ray.model.precision import DTYPES, has_amx, has_avx512_bf16
from clipseg_ray.training.batches import Batch
from clipseg_ray.training.config import OptimiserConfig
from clipseg_ray.training.objective import Objective


def learning_rate(config: OptimiserConfig, step: int) -> float:
    """The rate of a step: a linear rise over ``warmup`` steps, then a cosine to ``final_lr`` at the last."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.final_lr + (config.lr - config.final_lr) * (1 + math.cos(math.pi * done)) / 2


def resolve_precision(precision: str, device: torch.device) -> str:
    """ "fp32", "bf16" or "fp16" for a wish of those or "auto"."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "fp16"
    return "bf16" if has_amx() or has_avx512_bf16() else "fp32"


class Optimiser:
    """Lowers an objective. Its state, the model's included, can be taken out and put back exactly."""

    def __init__(self, objective: Objective, config: OptimiserConfig, device: torch.device) -> None:
        self._objective = objective
        self._config = config
        self._device = device
        self.precision = resolve_precision(config.precision, device)
        self._trained = {name: each for name, each in objective.named_parameters() if each.requires_grad}
        self._frozen = {
            name: each.to(torch.bfloat16)
            for name, each in objective.named_parameters()
            if not each.requires_grad and self.precision == "bf16" and device.type == "cpu"
        }
        hidden = {  # the matrices inside transformer blocks
            name for name, each in self._trained.items() if config.hidden_lr and each.ndim == 2 and ".layers." in name
        }
        others = [each for name, each in self._trained.items() if name not in hidden]
        self._optimisers: dict[str, torch.optim.Optimizer] = {
            "adamw": torch.optim.AdamW(others, lr=config.lr, weight_decay=config.weight_decay, fused=True)
        }
        if config.hidden_lr:
            matrices = [each for name, each in self._trained.items() if name in hidden]
            self._optimisers["muon"] = torch.optim.Muon(matrices, lr=config.hidden_lr, weight_decay=config.weight_decay)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        self._mean = {name: each.detach().clone() for name, each in self._trained.items()} if config.average else {}

    def step(self, batch: Batch, step: int) -> dict[str, float]:
        """Compute, average over the workers, and apply; returns the losses of this worker's batch and the norm."""
        share = learning_rate(self._config, step) / self._config.lr
        for name, optimiser in self._optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = share * ((self._config.hidden_lr or 0.0) if name == "muon" else self._config.lr)
        loss, parts = self._losses(batch)
        self._scaler.scale(loss).backward()
        self._average_gradients()
        for optimiser in self._optimisers.values():
            self._scaler.unscale_(optimiser)
        norm = nn.utils.clip_grad_norm_(self._trained.values(), self._config.clip_norm or math.inf)
        for optimiser in self._optimisers.values():
            self._scaler.step(optimiser)
        self._scaler.update()
        self._objective.zero_grad(set_to_none=True)
        self._follow(step)
        return {"loss": loss.item(), **{name: part.item() for name, part in parts.items()}, "norm": norm.item()}

    def _losses(self, batch: Batch) -> Any:
        if self._device.type == "cpu":
            if self.precision == "fp32":
                return self._objective(batch)
            # Weights rounded once a step and everything computed in bf16: autocast's conversions cost a CPU more
            # than bf16 saves. The weights that are kept and updated are fp32.
            rounded = {name: each.to(torch.bfloat16) for name, each in self._trained.items()}
            return functional_call(self._objective, {**self._frozen, **rounded}, (batch,))
        with torch.autocast("cuda", DTYPES[self.precision], enabled=self.precision != "fp32"):
            return self._objective(batch)

    def _average_gradients(self) -> None:
        """The mean over all workers, in one message; a parameter that a batch did not use counts as 0 there."""
        for each in self._trained.values():
            if each.grad is None:
                each.grad = torch.zeros_like(each)
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return
        gradients = [each.grad for each in self._trained.values() if each.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        pieces = flat.split([gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))

    def _follow(self, step: int) -> None:
        if self._config.average is None:
            return
        decay = min(self._config.average, (step + 1) / (step + 10))  # early means forget faster
        get_ema_multi_avg_fn(decay)(list(self._mean.values()), [p.detach() for p in self._trained.values()], step)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the model has the weights that are measured and saved: the running means, where there are any."""
        with torch.no_grad():
            kept = {name: self._trained[name].clone() for name in self._mean}
            for name, mean in self._mean.items():
                self._trained[name].copy_(mean)
            try:
                yield
            finally:
                for name, own in kept.items():
                    self._trained[name].copy_(own)

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "trained": {name: each.detach() for name, each in self._trained.items()},
            **{name: optimiser.state_dict() for name, optimiser in self._optimisers.items()},
            "scaler": self._scaler.state_dict(),
            "mean": self._mean,
        }

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state` of the same model and configuration."""
        for name, each in self._trained.items():
            each.copy_(state["trained"][name])
        for name, mean in self._mean.items():
            mean.copy_(state["mean"][name])
        for name, optimiser in self._optimisers.items():
            optimiser.load_state_dict(state[name])
        self._scaler.load_state_dict(state["scaler"])
