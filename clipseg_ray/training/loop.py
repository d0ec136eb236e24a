"""The training loop of one worker; all workers run it side by side.

    train(TrainConfig.load("configs/train-demo.yaml"))      # in this process, alone

Step s of a run is a pure function of the configuration and the state after step s − 1, whoever computes it: a run that
goes on from a checkpoint has the losses it would have had.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from clipseg_ray.errors import UserError
from clipseg_ray.model.saving import save
from clipseg_ray.pixels.preprocessing import Preprocessing
from clipseg_ray.queries.modes import parse_mode
from clipseg_ray.queries.templates import resolve_templates
from clipseg_ray.storage import Store
from clipseg_ray.training.batches import Batches
from clipseg_ray.training.cache import Cached
from clipseg_ray.training.checkpoints import Checkpoints
from clipseg_ray.training.collection import Collection
from clipseg_ray.training.config import DataConfig, TrainConfig
from clipseg_ray.training.curve import draw_curve
from clipseg_ray.training.log import Log
from clipseg_ray.training.objective import Objective
from clipseg_ray.training.optimisation import Optimiser, learning_rate
from clipseg_ray.training.sampling import Sampler
from clipseg_ray.training.shards import TruthShards
from clipseg_ray.training.starting import Start, start
from clipseg_ray.training.validation import Validation

MODEL = "model"
"""The folder of the output that transformers loads."""

Report = Callable[[dict[str, Any]], None]


def train(config: TrainConfig, rank: int = 0, world: int = 1, report: Report | None = None) -> None:
    """Train from the newest checkpoint of the output, or from the start, to the last step.

    With several workers torch.distributed is initialised, and each calls this with its rank. ``report`` is called
    after every step by every worker with the step's record. Worker 0 writes the output.
    """
    torch.set_num_threads(max(1, round(config.workers.cpus)))
    device = torch.device("cuda" if config.workers.gpus else "cpu")
    store = Store.of(config.output.url)
    checkpoints = Checkpoints(store)
    collection = open_collection(config.data)
    if not len(collection.truth.query_t):
        raise UserError(f"{config.data.url[0]}: no picture there has a query that holds")
    templates = resolve_templates(config.sampling.template)
    texts = [text for query in collection.truth.queries for text in query.texts]
    begun = start(config.model, [*texts, *templates], config.seed)
    mode = parse_mode(config.sampling.support_mode)
    if config.cache is not None:
        collection = Cached(collection, begun.preprocessing, config.cache, 2, config.data.url[0])
    begun.model.to(device).train()
    if not config.optimiser.contrastive_weight:
        begun.model.clip.logit_scale.requires_grad_(False)
    objective = Objective(
        begun.model, begun.tokenizer, begun.preprocessing, config.optimiser, begun.frozen_clip
    )
    optimiser = Optimiser(objective, config.optimiser, device)
    done = 0
    if (latest := checkpoints.latest()) is not None:
        done, state = latest
        try:
            optimiser.load(state)
        except ValueError as error:
            raise UserError(f"{config.output.url}: has checkpoints of another run ({error}); set another") from error
    log = Log(store, done)
    validation = _validation(config, begun.preprocessing)
    patches = begun.preprocessing.size // begun.model.config.vision_config.patch_size
    batches = Batches(
        collection,
        begun.preprocessing,
        mode,
        crop=config.sampling.crop,
        threads=config.workers.loaders,
        patches=patches if config.optimiser.patch_weight else None,
    )
    sampler = Sampler(collection.truth, config.sampling, config.seed)
    steps = range(done, config.optimiser.steps)
    before = time.perf_counter()
    for step, batch in zip(
        steps, batches.steps(sampler, steps, config.optimiser.batch_images, rank, world), strict=True
    ):
        waited = time.perf_counter() - before
        torch.manual_seed(config.seed * 1_000_003 + step * world + rank)  # of dropout, where a model has it
        losses = _mean_over_workers(optimiser.step(_moved(batch, device), step), world)
        now = time.perf_counter()
        record = {"step": step + 1, **losses, "lr": learning_rate(config.optimiser, step)}
        record |= {"seconds": now - before, "waited": waited}
        before = now
        finished = step + 1 == config.optimiser.steps
        if validation is not None and (finished or (step + 1) % config.validation.every == 0):  # type: ignore[union-attr]
            with _measured(objective, optimiser):
                record["validation"] = validation.measure(objective, rank, world)
            before = time.perf_counter()
        log.add(record)
        if rank == 0 and (finished or (step + 1) % config.output.every == 0):
            checkpoints.put(step + 1, optimiser.state())
            log.write()
            store.put("curve.png", draw_curve(log.records))
            before = time.perf_counter()
        if report is not None:
            report(record)
    if rank == 0:
        _save(store, begun, optimiser)


def open_collection(config: DataConfig) -> Collection:
    """The pictures and truths a section names."""
    return TruthShards(config.url, config.held_out_words, config.limit)


def _validation(config: TrainConfig, preprocessing: Preprocessing) -> Validation | None:
    if config.validation is None:
        return None
    mode = parse_mode(config.sampling.support_mode)
    return Validation(open_collection(config.validation), preprocessing, mode, config.seed)


def _moved(batch: Any, device: torch.device) -> Any:
    if device.type == "cpu":
        return batch
    fields = {
        name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for name, value in vars(batch).items()
    }
    return type(batch)(**fields)


def _mean_over_workers(losses: dict[str, float], world: int) -> dict[str, float]:
    if world == 1:
        return losses
    values = torch.tensor(list(losses.values()), dtype=torch.float64)
    dist.all_reduce(values)
    return dict(zip(losses, (values / world).tolist(), strict=True))


class _measured:
    """Within it the objective's model has the weights that are measured and saved."""

    def __init__(self, objective: Objective, optimiser: Optimiser) -> None:
        self._model = objective.model
        self._optimiser = optimiser

    def __enter__(self) -> None:
        self._kept = {name: each.clone() for name, each in self._model.state_dict().items()}
        self._model.load_state_dict(self._optimiser.weights())

    def __exit__(self, *error: object) -> None:
        self._model.load_state_dict(self._kept)


def _save(store: Store, begun: Start, optimiser: Optimiser) -> None:
    begun.model.load_state_dict(optimiser.weights())
    with tempfile.TemporaryDirectory() as temporary:
        save(Path(temporary), begun.model, begun.tokenizer, begun.preprocessing)
        for file in sorted(Path(temporary).iterdir()):
            store.put(f"{MODEL}/{file.name}", file.read_bytes())
