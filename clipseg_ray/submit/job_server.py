"""The job server of a running Ray cluster: reached, asked what runs there, given a job, followed."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clipseg_ray.errors import UserError, last_line

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

_TIMEOUT_S = 15.0
_LOST_S = 600.0
"""How long a job is followed without an answer from its cluster."""
_QUIET_S = 60.0
"""How long a log may say nothing before it is asked for anew: a connection can die without a sign of it. A run says
something every 15 s."""
_POLL_S = 1.0
_STARTING_S = 120.0
"""How long a head may take from answering until it can start jobs: its agent comes up after its dashboard."""
_BROKEN_LOGS = 5
"""How often the log of a job that has ended is asked for again, when it breaks off each time."""

STOPPED = 130


class AnotherCluster(UserError):
    """What answers at an address is not the cluster that answered there before."""


@dataclass(frozen=True)
class Token:
    """What a cluster with ``RAY_AUTH_MODE=token`` wants to see, and where it was found."""

    value: str
    place: str


class _Log:
    """A log that may be sent again from its beginning: what was written once is left out."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.position = 0
        self.heard = time.monotonic()
        """When the cluster last said a word."""
        self._write = write
        self._shown = 0

    def add(self, text: str) -> None:
        """The next piece since the beginning."""
        self._write(text[max(0, self._shown - self.position) :])
        self.position += len(text)
        self._shown = max(self._shown, self.position)
        self.heard = time.monotonic()


def find_token() -> Token | None:
    """The token Ray itself would use: RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH names, ``~/.ray/auth_token``.

    Raises UserError when RAY_AUTH_TOKEN_PATH names no readable file.
    """
    if value := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return Token(value, "RAY_AUTH_TOKEN")
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        value = path.read_text().strip()
    except OSError as error:
        if named:
            raise UserError(f"RAY_AUTH_TOKEN_PATH: {named} cannot be read ({error.strerror})") from error
        return None
    return Token(value, str(path)) if value else None


class JobServer:
    """A connection to the job server at ``address``, the URL of a cluster's dashboard (``http://head:8265``).

    Raises UserError when nothing answers there, when it is no Ray cluster, when it refuses the token, or when it runs
    another Ray than this machine.
    """

    def __init__(self, address: str) -> None:
        self.address = _url(address)
        self._token = find_token()
        answered = self._get("/api/version")
        version, self._session = answered.get("ray_version"), answered.get("session_name")
        import ray

        if version != ray.__version__:
            raise UserError(
                f"{self.address}: the cluster runs Ray {version}, this machine Ray {ray.__version__}; install the same "
                f"here (pip install 'ray[data,default]=={version}') or there"
            )
        self._client = self._connect()

    @property
    def shares_this_machine(self) -> bool:
        """Whether this machine is a node of the cluster, so that a local path can mean the same on both."""
        deadline = time.monotonic() + _TIMEOUT_S
        while not (hosts := self._hosts()) and time.monotonic() < deadline:
            time.sleep(_POLL_S)  # the dashboard of a cluster that has just been started
        return socket.gethostname() in hosts

    def _hosts(self) -> set[str]:
        """The names of the machines the cluster's nodes are on."""
        nodes = self._get("/nodes?view=summary").get("data", {}).get("summary", ())
        return {node.get("raylet", {}).get("nodeManagerHostname", "") for node in nodes} - {""}

    def jobs(self) -> list[JobDetails]:
        """Every submitted job the cluster remembers, in no order."""
        with self._plain_errors():
            return [job for job in self._client.list_jobs() if job.submission_id]

    def submit(self, submission_id: str, entrypoint: str, folder: Path, metadata: dict[str, str]) -> bool:
        """Start ``entrypoint`` in a copy of ``folder``; False when the id has been used before."""
        # The default of three seconds between SIGTERM and SIGKILL is too short for a run to write how it ended.
        environment = {"working_dir": str(folder), "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}}
        deadline = time.monotonic() + _STARTING_S
        while True:
            with self._plain_errors():
                try:
                    self._client.submit_job(
                        entrypoint=entrypoint, submission_id=submission_id, runtime_env=environment, metadata=metadata
                    )
                    return True
                except RuntimeError as error:
                    if f"{submission_id} already exists" in str(error):
                        return False
                    if "try again later" not in str(error) or time.monotonic() > deadline:
                        raise
            time.sleep(_POLL_S)

    def follow(self, submission_id: str, write: Callable[[str], None]) -> int:
        """Hand on a job's log as it grows, and return its exit code: 130 when it was stopped.

        A lost connection is taken up again where it broke, and one that died without a sign after a minute. Raises
        UserError when it stays lost for ten minutes, and when a cluster answers that has taken this one's place: its
        jobs are others, even under the same id.
        """
        log, broken = _Log(write), 0
        while True:
            try:
                self._refuse_another(submission_id)
                asyncio.run(self._tail(submission_id, log))
                whole = True
            except AnotherCluster:
                raise
            except Exception:  # the SDK lets every kind of network error through
                whole, broken = False, broken + 1
            try:
                job = self._job(submission_id)
                self._refuse_another(submission_id)
            except AnotherCluster:
                raise
            except Exception as error:
                if time.monotonic() - log.heard > _LOST_S:
                    raise UserError(
                        f"{self.address}: no word from the cluster for {_LOST_S / 60:.0f} minutes "
                        f"({last_line(error)}); the job {submission_id} may well go on"
                    ) from error
            else:
                log.heard = time.monotonic()
                if not job.status.is_terminal():
                    broken = 0
                elif whole or broken > _BROKEN_LOGS:
                    return _exit_code(job, write)
            time.sleep(_POLL_S)

    async def _tail(self, submission_id: str, log: _Log) -> None:
        """Hand on the log from its beginning, until it ends or the connection does; TimeoutError when it is quiet."""
        log.position = 0
        async with asyncio.timeout(_QUIET_S) as limit:
            async for text in self._client.tail_job_logs(submission_id):
                log.add(text)
                limit.reschedule(asyncio.get_running_loop().time() + _QUIET_S)

    def _job(self, submission_id: str) -> JobDetails:
        """What the cluster knows of a job; Ray's own client would wait for the answer for ever."""
        from ray.job_submission import JobDetails

        return JobDetails(**self._get(f"/api/jobs/{submission_id}"))

    def _refuse_another(self, submission_id: str) -> None:
        session = self._get("/api/version").get("session_name")
        if session != self._session:
            raise AnotherCluster(
                f"{self.address}: the cluster the job {submission_id} was on is gone (session {self._session}), and "
                f"another one answers there now (session {session}): how the job ended is not known"
            )

    def _connect(self) -> JobSubmissionClient:
        from ray.job_submission import JobSubmissionClient

        logging.getLogger("ray").setLevel(logging.WARNING)
        for name in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
            logging.getLogger(name).setLevel(logging.WARNING)
        with self._plain_errors(), _without("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):  # they would win
            return JobSubmissionClient(self.address, headers=self._headers())

    def _headers(self) -> dict[str, str]:
        return {} if self._token is None else {"Authorization": f"Bearer {self._token.value}"}

    def _get(self, path: str) -> dict[str, Any]:
        """One JSON answer of the dashboard."""
        request = urllib.request.Request(f"{self.address}{path}", headers=self._headers())
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            raise self._refused(error) from error
        except OSError as error:  # no such host, nobody listening, no answer in time
            reason = getattr(error, "reason", None)
            why = last_line(reason if isinstance(reason, OSError) else error)
            raise UserError(f"{self.address}: cannot be reached ({why}); {_LOOK}") from error
        except (http.client.HTTPException, ValueError) as error:
            raise self._no_dashboard() from error
        if not isinstance(found, dict):
            raise self._no_dashboard()
        return found

    def _no_dashboard(self) -> UserError:
        return UserError(f"{self.address}: what answers there is no Ray dashboard; {_LOOK}")

    def _refused(self, error: urllib.error.HTTPError) -> UserError:
        if error.code >= 500:
            return UserError(
                f"{self.address}: answers with HTTP status {error.code}; a starting dashboard does, and a proxy "
                "that cannot reach it: try again in a minute"
            )
        if error.code not in (401, 403):
            return self._no_dashboard()
        if self._token is None:
            return UserError(
                f"{self.address}: the cluster wants a token, and none was found; put it into RAY_AUTH_TOKEN or "
                "~/.ray/auth_token"
            )
        return UserError(f"{self.address}: the cluster refuses the token from {self._token.place}; take the cluster's")

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except (UserError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise UserError(f"{self.address}: the job server failed: {last_line(error)}") from error


_LOOK = "check --address: it is the dashboard's, e.g. http://head:8265"


def _url(address: str) -> str:
    url = address if "://" in address else f"http://{address}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"--address {address}: give the URL of the cluster's dashboard, e.g. http://head:8265")
    return url.rstrip("/")


def _exit_code(job: JobDetails, write: Callable[[str], None]) -> int:
    if job.status == "SUCCEEDED":
        return 0
    if job.driver_exit_code:
        return job.driver_exit_code if job.driver_exit_code > 0 else 128 - job.driver_exit_code
    if job.status == "STOPPED":
        return STOPPED
    write(f"{job.message or 'the job failed and reported no cause'}\n")
    return 1


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """The environment without these variables."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
