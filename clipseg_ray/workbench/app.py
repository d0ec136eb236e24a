"""What the page asks for, and what it is answered: a Starlette application over one bench, to be put behind a guard."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from clipseg_ray import json_text
from clipseg_ray.errors import UserError
from clipseg_ray.outside_text import entered_value
from clipseg_ray.plain_text import text_of
from clipseg_ray.queries.modes import DEFAULT_MODE, MODES
from clipseg_ray.queries.query import Query
from clipseg_ray.workbench import keeping, wording
from clipseg_ray.workbench.desk import Desk
from clipseg_ray.workbench.judging import Judging
from clipseg_ray.workbench.verdict_routes import verdict_routes

UPLOAD = "/pictures"
"""The path that takes a picture's bytes."""

_FILES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
}
_SHARED = ("style.css", "elements.js", "looks.js", "masks.js")
_OWN = (
    "workbench.css", "workbench.js", "server.js", "grid.js", "list.js", "picture.js", "keys.js", "verdicts.js",
)  # fmt: skip


def application(desk: Desk) -> Starlette:
    """The application; every path is one without the token. Raises UserError for kept verdicts that cannot be read."""
    judging = Judging(desk.bench, {"checkpoint": desk.model})
    routes = [*verdict_routes(judging, body_of), *_Answers(desk).routes()]
    return Starlette(routes=routes, exception_handlers={UserError: _refused})


def _refused(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def body_of(request: Request) -> dict[str, Any]:
    """A JSON object that the page sends, its text past the gate. Raises UserError for anything else."""
    try:
        value = entered_value(json_text.load(text_of(await request.body())))
    except ValueError as error:
        raise UserError(f"what was sent is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise UserError("what was sent is no JSON object")
    return value


class _Answers:
    """The endpoints. Those that compute or touch files are plain functions, which Starlette runs in threads."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._bench = desk, desk.bench

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/", self.page),
            Route("/page/{name}", self.file),
            Route("/state", self.state),
            Route("/images", self.images),
            Route("/thumbnails/{index:int}", self.thumbnail),
            Route("/ask", self.ask, methods=["POST"]),
            Route("/queries", self.add, methods=["POST"]),
            Route("/queries", self.change, methods=["PATCH"]),
            Route("/queries/{uid}", self.delete, methods=["DELETE"]),
            Route("/order", self.move, methods=["POST"]),
            Route("/undo", self.undo, methods=["POST"]),
            Route("/redo", self.redo, methods=["POST"]),
            Route("/reopen", self.reopen, methods=["POST"]),
            Route(UPLOAD, self.upload, methods=["POST"]),
            Route("/pictures/of/{index:int}", self.picture_of, methods=["POST"]),
            Route("/pictures/{id}", self.picture),
            Route("/view", self.view, methods=["PUT"]),
            Route("/save", self.save, methods=["POST"]),
        ]

    def page(self, request: Request) -> Response:
        return _file("clipseg_ray.workbench", "workbench.html")

    def file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name in _SHARED:
            return _file("clipseg_ray.report", name)
        return _file("clipseg_ray.workbench", name) if name in _OWN else Response(status_code=404)

    def state(self, request: Request) -> Response:
        bench = self._bench
        return JSONResponse(
            {
                **self._desk.described(),
                "total": bench.total,
                "threshold": bench.threshold,
                "modes": [name for name, mode in MODES.items() if mode.needs_mask],
                "mode": DEFAULT_MODE,
                "view": dict(bench.view),
                **wording.the_list(bench),
            }
        )

    def images(self, request: Request) -> Response:
        return _events(self._arrivals())

    def _arrivals(self) -> Iterator[tuple[str, Any]]:
        for image in self._bench.arrivals():
            yield "image", {**wording.image(image), "total": self._bench.total}
        yield "end", {"total": self._bench.total, "fault": self._bench.fault}

    def thumbnail(self, request: Request) -> Response:
        thumbnail = self._bench.image(request.path_params["index"]).thumbnail
        return Response(thumbnail, media_type="image/webp") if thumbnail else Response(status_code=404)

    async def ask(self, request: Request) -> Response:
        asked = await body_of(request)
        if "uid" in asked:
            queries = await _thread(self._bench.of_entry, str(asked["uid"]))
        elif isinstance(asked.get("query"), dict):
            queries = await _thread(self._bench.of_changes, asked["query"])
        else:
            raise UserError("neither the uid of a query nor a query was sent")
        return _events(self._answers(queries))

    def _answers(self, queries: list[Query]) -> Iterator[tuple[str, Any]]:
        bench = self._bench
        (query,) = [query for query in queries if query.keep]
        borders = bench.borders(query)
        yield "begin", {"borders": borders, "threshold": query.threshold}
        for answer in bench.answers(queries):
            levels = base64.b64encode(answer.levels).decode()
            yield "answer", {"index": answer.index, "score": answer.score, "size": answer.size, "levels": levels}
        yield "end", {"fault": bench.fault}

    async def add(self, request: Request) -> Response:
        return await self._edited(self._desk.add, await body_of(request))

    async def change(self, request: Request) -> Response:
        return await self._edited(self._desk.change, await body_of(request))

    async def delete(self, request: Request) -> Response:
        return await self._edited(self._desk.delete, request.path_params["uid"])

    async def move(self, request: Request) -> Response:
        return await self._edited(self._desk.move, await body_of(request))

    async def undo(self, request: Request) -> Response:
        return await self._edited(self._desk.undo)

    async def redo(self, request: Request) -> Response:
        return await self._edited(self._desk.redo)

    async def reopen(self, request: Request) -> Response:
        return await self._edited(self._desk.reopen)

    async def _edited(self, edit: Any, *given: Any) -> Response:
        """The list after an edit, with what the edit itself gave."""
        gave = await _thread(edit, *given)
        return JSONResponse({**await _thread(wording.the_list, self._bench), **(gave or {})})

    async def upload(self, request: Request) -> Response:
        kept = await _thread(self._bench.pictures.keep, await request.body())
        return JSONResponse({"id": kept.id, "width": kept.width, "height": kept.height})

    def picture_of(self, request: Request) -> Response:
        kept = self._bench.pictures.of(self._bench.picture_of(request.path_params["index"]))
        return JSONResponse({"id": kept.id, "width": kept.width, "height": kept.height})

    def picture(self, request: Request) -> Response:
        return Response(self._bench.pictures.shown(request.path_params["id"]), media_type="image/webp")

    async def view(self, request: Request) -> Response:
        view = await body_of(request)
        if len(json.dumps(view)) > keeping.VIEW_BYTES:
            raise UserError("what the page shows is more than is kept")
        await _thread(self._bench.keep, view)
        return Response(status_code=204)

    async def save(self, request: Request) -> Response:
        return JSONResponse(await _thread(self._desk.save, await body_of(request)))


async def _thread(function: Any, *given: Any) -> Any:
    return await run_in_threadpool(function, *given)


def _file(package: str, name: str) -> Response:
    data = (resources.files(package) / "page" / name).read_bytes()
    return Response(data, headers={"content-type": _FILES[name.rpartition(".")[2]]})


def _events(events: Iterator[tuple[str, Any]]) -> Response:
    """Server-sent events (WHATWG HTML, 9.2): a name and a line of JSON each; a fault on the way is the last."""

    def lines() -> Iterator[str]:
        try:
            for name, value in events:
                yield f"event: {name}\ndata: {json.dumps(value)}\n\n"
        except UserError as error:
            yield f"event: fault\ndata: {json.dumps({'error': str(error)})}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")
