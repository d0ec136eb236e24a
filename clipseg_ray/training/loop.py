"""The training loop of one worker; all workers run it side by side.

    train(TrainConfig.load("configs/train-scenes.yaml"))      # in this process, alone

Step s of a run is a pure function of the configuration and the state after step s − 1, whoever computes it: a run that
goes on from a checkpoint has the losses it would have had.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from clipseg_ray.errors import UserError
from clipseg_ray.queries.modes import parse_mode
from clipseg_ray.queries.templates import resolve_templates
from clipseg_ray.storage import Store
from clipseg_ray.training.batches import Batch, Batches
from clipseg_ray.training.checkpoints import Checkpoints
from clipseg_ray.training.collection import Collection
from clipseg_ray.training.config import DataConfig, TrainConfig
from clipseg_ray.training.curve import draw_curve
from clipseg_ray.training.log import Log
from clipseg_ray.training.objective import Objective
from clipseg_ray.training.optimisation import Optimiser, learning_rate
from clipseg_ray.training.phrasecut import PhraseCut
from clipseg_ray.training.sampling import Sampler
from clipseg_ray.training.saving import save
from clipseg_ray.training.starting import start
from clipseg_ray.training.truth_shards import TruthShards
from clipseg_ray.training.validation import Validation

MODEL = "model"
"""The folder of the output that transformers loads."""

HELD_OUT = "held-out.json"
"""Of the output: the phrases of the data that training may not see."""

Report = Callable[[dict[str, Any]], None]


def train(config: TrainConfig, rank: int = 0, world: int = 1, report: Report | None = None) -> None:
    """Train from the newest checkpoint of the output, or from the start, to the last step.

    With several workers torch.distributed is initialised, and each calls this with its rank. ``report`` is called
    after every step by every worker with the step's record. Worker 0 writes the output.

    Raises UserError for data or a checkpoint that cannot be used, and for an output begun with another configuration.
    """
    torch.set_num_threads(max(1, round(config.workers.cpus)))
    run = _Run(config, rank, world)
    steps = range(run.done, config.optimiser.steps)
    sampler = Sampler(run.collection.truth, config.sampling, config.seed)
    batches = run.batches.steps(sampler, steps, config.optimiser.batch_images, rank=rank, world=world)
    before = time.perf_counter()
    for step, batch in zip(steps, batches, strict=True):
        waited = time.perf_counter() - before
        record: dict[str, Any] = {"step": step + 1, **run.step(batch, step)}
        record |= {"seconds": time.perf_counter() - before, "waited": waited}
        before = time.perf_counter()
        if (scores := run.measured(step + 1)) is not None:
            record["validation"] = scores
            before = time.perf_counter()
        run.log.add(record)
        if rank == 0 and _due(step + 1, config.output.every, config.optimiser.steps):
            run.keep(step + 1)
            before = time.perf_counter()
        if report is not None:
            report(record)
    if rank == 0:
        run.save()


class _Run:
    """One worker's share of a run: everything that a step needs."""

    def __init__(self, config: TrainConfig, rank: int, world: int) -> None:
        self._config, self._rank, self._world = config, rank, world
        self._device = torch.device("cuda" if config.workers.gpus else "cpu")
        self._store = Store.of(config.output.url)
        self._checkpoints = Checkpoints(self._store)
        mode = parse_mode(config.sampling.support_mode)
        self.collection = open_collection(config.data)
        self._begun = begun = start(config.model, _texts(config, self.collection), config.seed)
        self._asked = _asked(config, self.collection)
        begun.model.to(self._device).train()
        self._objective = Objective(begun, config.optimiser, config.model.decoder_dropout)
        self._optimiser = Optimiser(self._objective, config.optimiser, self._device)
        self.done = self._resume()
        if config.data.held_out and rank == 0:
            left_out = json.dumps(list(self.collection.left_out), ensure_ascii=False, indent=0)
            self._store.put(HELD_OUT, left_out.encode() + b"\n")
        self.log = Log(self._store, self.done)
        patches = begun.preprocessing.size // begun.model.config.vision_config.patch_size
        self.batches = Batches(
            self.collection,
            begun.preprocessing,
            mode,
            config.sampling,
            threads=config.workers.loaders,
            patches=patches if config.optimiser.patch_weight else None,
        )
        self._validation = None
        if config.validation is not None:
            self._validation = Validation(
                open_collection(config.validation), begun.preprocessing, mode, seed=config.seed
            )

    def _resume(self) -> int:
        """Steps that a checkpoint has done."""
        latest = self._checkpoints.latest()
        if latest is None:
            return 0
        done, state = latest
        if changed := [key for key, value in self._asked.items() if state["asked"].get(key) != value]:
            raise UserError(
                f"{self._config.output.url}: was begun with another {', '.join(changed)}; "
                "set them back, or set another output.url"
            )
        self._optimiser.load(state["optimiser"])
        return done

    def step(self, batch: Batch, step: int) -> dict[str, float]:
        """One step; its losses as the mean over the workers."""
        torch.manual_seed(self._config.seed * 1_000_003 + step * self._world + self._rank)  # dropout
        losses = self._optimiser.step(batch.to(self._device), step)
        if self._world > 1:
            values = torch.tensor(list(losses.values()), dtype=torch.float64, device=self._device)
            dist.all_reduce(values)
            losses = dict(zip(losses, (values / self._world).tolist(), strict=True))
        return {**losses, "lr": learning_rate(self._config.optimiser, step)}

    def measured(self, steps: int) -> dict[str, dict[str, float | None]] | None:
        """What validation says after so many steps; None where it is not due."""
        every = self._config.validation.every if self._config.validation is not None else 1
        if self._validation is None or not _due(steps, every, self._config.optimiser.steps):
            return None
        with self._optimiser.averaged():
            return self._validation.measure(self._objective, self._rank, self._world)

    def keep(self, steps: int) -> None:
        """Checkpoint, log and curve after so many steps."""
        self._checkpoints.put(steps, {"optimiser": self._optimiser.state(), "asked": self._asked})
        self.log.write()
        self._store.put("curve.png", draw_curve(self.log.records))

    def save(self) -> None:
        """The model for transformers."""
        with self._optimiser.averaged(), tempfile.TemporaryDirectory() as temporary:
            save(Path(temporary), self._begun.model, self._begun.tokenizer, self._begun.preprocessing)
            for file in sorted(Path(temporary).iterdir()):
                self._store.put(f"{MODEL}/{file.name}", file.read_bytes())


def _due(steps: int, every: int, last: int) -> bool:
    return steps == last or steps % every == 0


def _texts(config: TrainConfig, collection: Collection) -> list[str]:
    """All that may be asked, for the tokenizer."""
    if not len(collection.truth.query_t):
        raise UserError(f"{config.data.url[0]}: no image there has a query that holds; nothing can be learned")
    texts = [text for query in collection.truth.queries for text in query.texts]
    return [*texts, *resolve_templates(config.sampling.template)]


def _asked(config: TrainConfig, collection: Collection) -> dict[str, str]:
    """What decides the losses, by the configuration's section: these may not change within an output."""
    values = config.resolved()
    sections = {name: json.dumps(values[name], sort_keys=True) for name in ("sampling", "model", "optimiser", "seed")}
    return {"data": collection.fingerprint, **sections}


def open_collection(config: DataConfig) -> Collection:
    """The images and truths a section names."""
    if config.format == "phrasecut":
        return PhraseCut(
            config.url[0],
            config.split,
            pictures=config.pictures,
            held_out=config.held_out,
            limit=config.limit,
        )
    return TruthShards(config.url, config.held_out, config.limit)
