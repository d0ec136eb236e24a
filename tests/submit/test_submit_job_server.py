"""Following a job's log from a played dashboard, over connections that break off or fall silent."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from aiohttp import web

from clipseg_ray.errors import UserError
from clipseg_ray.submit import job_server
from clipseg_ray.submit.job_server import JobServer

LOG = "one\ntwo\nthree\n"
FOR_EVER_S = 3600.0


class PlayedJob:
    """A dashboard with one job whose log is asked for again and again.

    ``tails``: after how many characters the log breaks off, time after time, and whether it does so without a sign;
    then it is sent whole. The job runs while the log has been asked for ``runs_for`` times, and the dashboard leaves
    the next ``unanswered`` questions about it without an answer. Once the log was asked for so many times another head
    answers, ``next_session``. ``refusals``: (HTTP status, text) for jobs that are handed in.
    """

    def __init__(self) -> None:
        self.status, self.exit_code, self.message = "SUCCEEDED", 0, ""
        self.tails: list[tuple[int, bool]] = []
        self.tailed = self.runs_for = self.unanswered = 0
        self.refusals: list[tuple[int, str]] = []
        self.session, self.next_session = "session_1", (1000, "session_2")

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes(
            [
                web.get("/api/version", self._version),
                web.post("/api/jobs/", self._submit),
                web.get("/api/packages/{protocol}/{name}", self._package),
                web.put("/api/packages/{protocol}/{name}", self._package),
                web.get("/api/jobs/j", self._job),
                web.get("/api/jobs/j/logs/tail", self._tail),
            ]
        )
        return application

    async def _version(self, _: web.Request) -> web.Response:
        after, following = self.next_session
        session = self.session if self.tailed < after else following
        facts = {"version": "4", "ray_version": ray.__version__, "ray_commit": "", "session_name": session}
        return web.json_response(facts)

    async def _submit(self, request: web.Request) -> web.Response:
        if self.refusals:
            status, text = self.refusals.pop(0)
            return web.Response(status=status, text=text)
        return web.json_response({"job_id": "j", "submission_id": (await request.json())["submission_id"]})

    async def _package(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _job(self, _: web.Request) -> web.Response:
        if self.unanswered:
            self.unanswered -= 1
            await asyncio.sleep(FOR_EVER_S)
        status = "RUNNING" if self.tailed <= self.runs_for else self.status
        facts = {"status": status, "driver_exit_code": self.exit_code, "message": self.message}
        return web.json_response({"type": "SUBMISSION", "submission_id": "j", "entrypoint": "run", **facts})

    async def _tail(self, request: web.Request) -> web.WebSocketResponse:
        self.tailed += 1
        length, silent = self.tails.pop(0) if self.tails else (None, False)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(LOG[:length][:5])
        await socket.send_str(LOG[:length][5:])
        if silent:
            await asyncio.sleep(FOR_EVER_S)
        if length is not None:
            assert request.transport is not None
            request.transport.close()
        return socket


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> PlayedJob:
    monkeypatch.setattr(job_server, "_POLL_S", 0.0)
    return PlayedJob()


@pytest.fixture
def server(job: PlayedJob) -> Iterator[JobServer]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = web.AppRunner(job.application(), shutdown_timeout=0.1)

    async def start() -> int:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return int(runner.addresses[0][1])

    port = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
    yield JobServer(f"http://127.0.0.1:{port}")
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(60)
    loop.close()


def follow(server: JobServer, also: Callable[[str], None] = lambda _: None) -> tuple[int, str]:
    """The exit code and all that was written; fails, rather than waits, where the following does not end."""
    written: list[str] = []
    codes: list[Any] = []

    def write(text: str) -> None:
        written.append(text)
        also(text)

    def run() -> None:
        try:
            codes.append(server.follow("j", write))
        except UserError as error:
            codes.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(120)
    assert codes, "still following"
    if isinstance(codes[0], UserError):
        raise codes[0]
    return codes[0], "".join(written)


@pytest.mark.parametrize(
    ("status", "exit_code", "code", "last"),
    [
        ("SUCCEEDED", 0, 0, ""),
        ("FAILED", 1, 1, ""),
        ("FAILED", -9, 137, ""),
        ("FAILED", None, 1, "no node for the driver\n"),
        ("STOPPED", None, 130, ""),
    ],
)
def test_a_log_is_followed_over_lost_connections_to_the_jobs_exit_code(
    job: PlayedJob, server: JobServer, status: str, exit_code: Any, code: int, last: str
) -> None:
    job.status, job.exit_code, job.message = status, exit_code, "no node for the driver"
    job.tails = [(3, False), (9, False)]
    assert follow(server) == (code, f"{LOG}{last}")


def test_a_connection_that_died_without_a_sign_is_made_anew(
    job: PlayedJob, server: JobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_server, "_QUIET_S", 2.0)
    monkeypatch.setattr(job_server, "_TIMEOUT_S", 2.0)
    job.tails, job.runs_for, job.unanswered = [(6, True)], 1, 1
    assert follow(server) == (0, LOG)


def test_breaks_while_the_job_runs_cost_nothing_of_its_end(job: PlayedJob, server: JobServer) -> None:
    job.tails, job.runs_for = [(3, False)] * 10, 9
    assert follow(server) == (0, LOG)


def test_a_log_that_went_on_for_hours_is_a_word_from_the_cluster(
    job: PlayedJob, server: JobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = [0.0]
    monkeypatch.setattr(job_server, "time", SimpleNamespace(monotonic=lambda: 3600 * hours[0], sleep=time.sleep))
    monkeypatch.setattr(job_server, "_TIMEOUT_S", 2.0)
    job.tails, job.unanswered = [(9, False)], 1

    def an_hour_later(_: str) -> None:
        hours[0] += 1

    assert follow(server, an_hour_later) == (0, LOG)


def test_an_ended_job_without_a_log_ends_the_following(job: PlayedJob, server: JobServer) -> None:
    job.status, job.exit_code = "FAILED", 1
    job.tails = [(3, False)] * 1000
    assert follow(server) == (1, "one")


def test_a_cluster_that_stays_silent_is_given_up(
    job: PlayedJob, server: JobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_server, "_LOST_S", -1.0)
    monkeypatch.setattr(job_server, "_QUIET_S", 0.5)
    monkeypatch.setattr(job_server, "_TIMEOUT_S", 0.5)
    job.tails, job.unanswered = [(3, True)] * 1000, 1000
    with pytest.raises(UserError, match=r"no word from the cluster for .*timed out.*; the job j may well go on"):
        follow(server)


def test_a_head_that_took_anothers_place_is_not_followed(job: PlayedJob, server: JobServer) -> None:
    job.tails, job.runs_for, job.next_session = [(6, False)], 5, (1, "session_2")
    with pytest.raises(UserError, match=r"the job j was on is gone \(session session_1\).* \(session session_2\)"):
        follow(server)


def test_a_head_without_a_session_name_is_taken_for_the_same(job: PlayedJob, server: JobServer) -> None:
    server._session = job.session = None  # type: ignore[assignment]
    assert follow(server) == (0, LOG)


AGENT = (500, "No available agent to submit job, please try again later.")


def test_a_head_that_has_just_started_is_waited_for(job: PlayedJob, server: JobServer, tmp_path: Path) -> None:
    job.refusals = [AGENT] * 3
    assert server.submit("j", "run", tmp_path, {}) is True
    assert job.refusals == []


def test_what_a_head_refuses_for_good_is_said_at_once(job: PlayedJob, server: JobServer, tmp_path: Path) -> None:
    job.refusals = [(500, "something else")] * 3
    with pytest.raises(UserError, match=r"the job server failed: .*something else"):
        server.submit("j", "run", tmp_path, {})
    assert len(job.refusals) == 2


def test_a_head_that_never_can_is_given_up(
    job: PlayedJob, server: JobServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_server, "_STARTING_S", -1.0)
    job.refusals = [AGENT] * 3
    with pytest.raises(UserError, match="No available agent"):
        server.submit("j", "run", tmp_path, {})
