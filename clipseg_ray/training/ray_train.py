"""Training on a Ray cluster: the only module of this room that imports Ray.

Ray Train starts the workers, gives each its rank and torch.distributed, and starts all of them again when one has died.
What they go on from are our own checkpoints in the output, which any driver finds: Ray keeps no state between runs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from concurrent.futures import Future, wait
from typing import Any, cast

import pyarrow.fs
import ray.train
from ray.train.torch import TorchConfig, TorchTrainer

from clipseg_ray.cluster.interrupt import raise_if_asked, terminate_as_interrupt
from clipseg_ray.errors import UserError, last_line
from clipseg_ray.storage import Store
from clipseg_ray.training.config import TrainConfig, TrainingWorkersConfig
from clipseg_ray.training.log import described
from clipseg_ray.training.loop import train

STATUS = "status.json"
"""Of the output: the newest step's record, for whoever wants to know how far the run is."""

_FOLDER = "_ray"  # of the output: Ray checks there that all nodes reach it; removed at the end
_HEARTBEAT_S = 5.0
_SILENCE_S = 30.0


def fit(config: TrainConfig) -> None:
    """Train on the connected cluster until the last step, printing a line now and then.

    Raises UserError for what the user can put right, a run that failed more often than ``workers.retries`` among it,
    and KeyboardInterrupt when it is interrupted.
    """
    workers, store = config.workers, Store.of(config.output.url)
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = f"{workers.wait_s:g}"
    api: Any = ray.train  # whose types are still those of the version before
    trainer: Any = TorchTrainer(
        cast(Any, _work),
        train_loop_config=config.resolved(),
        torch_config=TorchConfig(backend="nccl" if workers.gpus >= 1 else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers.count, use_gpu=bool(workers.gpus), resources_per_worker=_needs(workers)
        ),
        run_config=api.RunConfig(
            name=_FOLDER,
            storage_path=store.root,
            storage_filesystem=pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(store.fs)),
            failure_config=api.FailureConfig(max_failures=workers.retries, controller_failure_limit=0),
            logging_config=api.LoggingConfig(log_level="ERROR"),
        ),
    )
    try:
        with terminate_as_interrupt():
            fault = _watched(trainer, config, store)
    except api.ControllerError as error:
        raise UserError(f"the workers did not start: {_unmet(workers)} ({last_line(error)})") from error
    except api.TrainingFailedError as error:
        failures = f"{workers.retries + 1} time(s), the last time with: {last_line(error)}"
        raise UserError(f"training failed {failures}; run it again to go on") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            store.fs.rm(store.full(_FOLDER), recursive=True)
    if fault:
        raise UserError(fault)


def _work(values: dict[str, Any]) -> str | None:
    """What each worker does; returns the fault that only the user can put right, which no retry would."""
    config = TrainConfig.model_validate(values)
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    store = Store.of(config.output.url)
    before = 0.0

    def report(record: dict[str, Any]) -> None:
        nonlocal before
        if rank == 0 and (time.monotonic() - before > _HEARTBEAT_S or "validation" in record):
            store.put(STATUS, json.dumps(record).encode())
            before = time.monotonic()

    try:
        train(config, rank=rank, world=world, report=report)
    except UserError as error:
        return str(error)
    return None


def _watched(trainer: Any, config: TrainConfig, store: Store) -> str | None:
    """Run the trainer to its end, printing the status whenever it has changed, and what is waited for until then.

    Returns what worker 0 returned. The trainer runs in a thread, where it leaves Ctrl-C to us.
    """
    result: Future[Any] = Future()

    def fit() -> None:
        try:
            result.set_result(trainer.fit().return_value)
        except BaseException as error:
            result.set_exception(error)

    shown = _status(store)  # of an earlier run
    begun, since = False, time.monotonic()
    threading.Thread(target=fit, daemon=True).start()
    while True:
        ended = bool(wait([result], _HEARTBEAT_S).done)
        raise_if_asked()
        record = _status(store)
        if record is not None and record != shown:
            print(described(record, config.optimiser.steps), flush=True)
            begun, shown = True, record
        elif not begun and not ended and time.monotonic() - since > _SILENCE_S:
            print(f"waiting for the workers: {_unmet(config.workers)}", flush=True)
            since = time.monotonic()
        if ended:
            fault: str | None = result.result()
            return fault


def _status(store: Store) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(store.get(STATUS))
    except FileNotFoundError:
        return None
    return record


def _needs(workers: TrainingWorkersConfig) -> dict[str, float]:
    return {"CPU": workers.cpus} | ({"GPU": workers.gpus} if workers.gpus else {})


def _unmet(workers: TrainingWorkersConfig) -> str:
    total = ray.cluster_resources()
    each = ", ".join(f"{amount:g} {name}" for name, amount in _needs(workers).items())
    there = ", ".join(f"{total.get(name, 0):g} {name}" for name in _needs(workers))
    return f"{workers.count} of {each} each are needed, the cluster has {there}"
