"""The workbench from the shell: opened on a configuration, folder or URL, served to this machine's browser alone."""

from __future__ import annotations

import importlib.util
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from clipseg_ray.addresses import absolute, without_query
from clipseg_ray.config import DEFAULT_TABLE, RunConfig
from clipseg_ray.errors import UserError
from clipseg_ray.model import drawn_scenes
from clipseg_ray.storage import Store
from clipseg_ray.workbench import keeping
from clipseg_ray.workbench.bench import Bench
from clipseg_ray.workbench.desk import Desk
from clipseg_ray.workbench.sample import Images

if TYPE_CHECKING:
    import uvicorn

_CONFIGS = (".yaml", ".yml")
_MOST = 4096


def serve(place: str, overrides: Sequence[str], *, images: int, port: int | None, say: Callable[[str], None]) -> None:
    """Serve until interrupted; the address goes to ``say``. ``port``: None for any that is free.

    Raises UserError for what cannot be opened, and where the packages of the extra are not installed.
    """
    for name in ("starlette", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            raise UserError(f"the workbench needs {name}, which is not here: pip install 'clipseg-ray[workbench]'")
    desk = opened(place, overrides, images)
    listened = listening(port)
    server, address = server_of(desk, listened)
    threading.Thread(target=desk.bench.load, name="images", daemon=True).start()
    say(
        f"The workbench on {place} is at\n  {address}\n"
        f"for browsers of this machine. Control-C ends it; the list is kept in {desk.bench.folder.url}"
    )
    try:
        server.run(sockets=[listened])
    except KeyboardInterrupt:
        say("Ended; the list is kept.")
    finally:
        desk.bench.close()


def server_of(desk: Desk, listening: socket.socket) -> tuple[uvicorn.Server, str]:
    """A server of this desk on a socket that listens, and the address of its page, with a token of its own."""
    import uvicorn

    from clipseg_ray.workbench.app import UPLOAD, application
    from clipseg_ray.workbench.guard import Guard

    port, token = listening.getsockname()[1], secrets.token_urlsafe(24)
    settings = uvicorn.Config(
        Guard(application(desk), port=port, token=token, large=[UPLOAD]),
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(settings), f"http://127.0.0.1:{port}/{token}/"


def opened(place: str, overrides: Sequence[str], images: int) -> Desk:
    """A workbench on a configuration (.yaml), or on images anywhere, with the model loaded and no image read yet.

    The list is the kept one, or else the configuration's own table. Raises UserError.
    """
    from clipseg_ray.inference.predictor import Predictor

    if not 1 <= images <= _MOST:
        raise UserError(f"--images {images}: must be between 1 and {_MOST:,}")
    is_config = without_query(place).lower().endswith(_CONFIGS)
    if is_config:
        config = RunConfig.load(place, overrides)
    else:  # an output has to be named in a configuration, and nothing is written to this one
        values = {"input": {"url": place}, "output": {"url": f"{absolute(place).rstrip('/')}-masks"}}
        config = RunConfig.parse(values, overrides, source=place)
    sample = Images(config, images)
    model, masks = config.model, config.masks
    predictor = Predictor(
        model.checkpoint,
        model.revision,
        device=model.device,
        precision=model.precision,
        batch=config.pool.batch,
        decode=config.input.decode,
        views=model.views,
        refine=masks.refine,
        refine_radius=masks.refine_radius,
        refine_epsilon=masks.refine_epsilon,
    )
    table = config.queries.table if is_config and config.queries.table != DEFAULT_TABLE else None
    bench = Bench(sample, predictor, Store.of(keeping.folder_of(place)), masks.threshold)
    desk = Desk(
        bench=bench,
        place=place,
        config=is_config,
        overrides=tuple(overrides),
        table=table,
        folder=absolute("."),
        model=model.checkpoint,
        caution=drawn_scenes.caution(model.checkpoint, sample.paths),
    )
    desk.begin()
    return desk


def listening(port: int | None) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port or 0))
    except (OSError, OverflowError) as error:
        raise UserError(f"--port {port}: cannot be listened on ({error}); give another, or none") from error
