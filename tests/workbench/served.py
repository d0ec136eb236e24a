"""A workbench as a user has it, on drawn scenes, with the model inside the package, in this process."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from clipseg_ray.demo.scenes import scene
from clipseg_ray.workbench import serving
from clipseg_ray.workbench.desk import Desk

MODEL = "model.checkpoint=builtin:scenes"


def draw(folder: Path, images: int, side: int = 256) -> Path:
    """So many scenes as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(images):
        Image.fromarray(scene(7_000 + seed, side).pixels_hwc).save(folder / f"scene-{seed:02d}.png")
    return folder


@dataclass(frozen=True)
class Served:
    """A workbench that is being served at ``address``."""

    desk: Desk
    address: str

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        """Status, body and headers of one request; ``path`` is below the page's unless it begins with a slash."""
        where = urlsplit(self.address)
        connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=60)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        target = path if path.startswith("/") else f"{where.path}{path}"
        try:
            connection.request(method, target, data, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of an answer that is none of a fault."""
        status, data, _ = self.request(method, path, body)
        assert status == 200, data
        return json.loads(data)

    def events(self, method: str, path: str, body: Any = None) -> list[tuple[str, Any]]:
        """The events of an answer, name and value."""
        status, data, headers = self.request(method, path, body)
        assert status == 200, data
        assert headers["content-type"].startswith("text/event-stream")
        found = []
        for event in data.decode().split("\n\n")[:-1]:
            name, value = event.split("\n")
            found.append((name.removeprefix("event: "), json.loads(value.removeprefix("data: "))))
        return found


@contextmanager
def served(place: str, overrides: Sequence[str] = (MODEL,), images: int = 64) -> Iterator[Served]:
    """Open a workbench and serve it; its images are read meanwhile."""
    desk = serving.opened(place, overrides, images)
    listening = serving.listening(None)
    server, address = serving.server_of(desk, listening)
    loading = threading.Thread(target=desk.bench.load)
    running = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    loading.start()
    running.start()
    try:
        yield Served(desk, address)
    finally:
        desk.bench.close()
        server.should_exit = True
        running.join()
        loading.join()
        listening.close()
