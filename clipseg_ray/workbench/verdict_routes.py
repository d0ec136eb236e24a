"""What the page asks and says about verdicts; every path below ``/verdicts``."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from clipseg_ray.errors import UserError
from clipseg_ray.workbench.judging import Judging


def verdict_routes(judging: Judging, body_of: Any) -> list[BaseRoute]:
    """The endpoints. body_of: reads the JSON object that a request has, past the gate."""

    def described(request: Request) -> Response:
        wished = request.query_params.get("right")
        return JSONResponse(judging.described(request.path_params["uid"], _share(wished)))

    async def say(request: Request) -> Response:
        body, uid = await body_of(request), request.path_params["uid"]
        wished = _share(body.get("right"))
        if body.get("back") is True:
            return JSONResponse(await run_in_threadpool(judging.unsay, uid, wished))
        index, there = body.get("index"), body.get("there")
        if not isinstance(index, int) or isinstance(index, bool) or not isinstance(there, bool | None):
            raise UserError("what was sent is no verdict: an image's index, and whether it is there")
        return JSONResponse(await run_in_threadpool(judging.say, uid, index, there, wished))

    return [Route("/verdicts/{uid}", described), Route("/verdicts/{uid}", say, methods=["POST"])]


def _share(value: Any) -> float | None:
    """A wished share of right images, as the page sends it; None for none. Raises UserError."""
    if value is None or value == "":
        return None
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = 0.0
    if not 0 < share < 1:
        raise UserError(f"{value}: the wished share of right images is a number between 0 and 1, both excluded")
    return share
