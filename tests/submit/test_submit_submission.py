"""Submitting, against job servers that are played: what is refused, which attempt is sent."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from clipseg_ray import config
from clipseg_ray.errors import UserError
from clipseg_ray.pipeline import plan
from clipseg_ray.submit import submission as submit
from clipseg_ray.submit.job_server import JobServer
from tests.pipeline import world

TOKEN = "a-token"


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No token but those a test gives."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)


@pytest.fixture
def dashboard() -> Iterator[Callable[..., str]]:
    """Start a dashboard of a cluster on another machine; returns its URL."""
    servers: list[HTTPServer] = []

    def start(version: str = ray.__version__, body: bytes | None = None, code: int = 200) -> str:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                given = self.headers.get("Authorization")
                answers: dict[str, Any] = {
                    "/api/version": {"version": "4", "ray_version": version, "ray_commit": "", "session_name": ""},
                    "/nodes": {"data": {"summary": [{"raylet": {"nodeManagerHostname": "elsewhere"}}]}},
                }
                status = 401 if given is None else 403 if given != f"Bearer {TOKEN}" else 200
                answer = body if body is not None else json.dumps(answers[self.path.partition("?")[0]]).encode()
                self.send_response(code if body is not None else status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def refusal(address: str) -> str:
    with pytest.raises(UserError) as refused:
        JobServer(address)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_no_token_a_wrong_one_and_the_right_one(
    dashboard: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address = dashboard()
    assert refusal(address) == (
        f"{address}: the cluster wants a token, and none was found; put it into RAY_AUTH_TOKEN or ~/.ray/auth_token"
    )
    file = tmp_path / "home" / ".ray" / "auth_token"
    file.parent.mkdir(parents=True)
    file.write_text("old\n")
    assert refusal(address) == f"{address}: the cluster refuses the token from {file}; take the cluster's"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    assert refusal(address) == f"RAY_AUTH_TOKEN_PATH: {tmp_path}/none cannot be read (No such file or directory)"
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # Ray would take it before the address that is given
    assert JobServer(address.removeprefix("http://")).address == address


def test_another_ray_and_no_ray(dashboard: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    assert f"the cluster runs Ray 2.9.3, this machine Ray {ray.__version__}; install" in refusal(dashboard("2.9.3"))
    assert "what answers there is no Ray dashboard" in refusal(dashboard(body=b"<html>"))
    assert "what answers there is no Ray dashboard" in refusal(dashboard(body=b"[]"))
    assert "answers with HTTP status 502;" in refusal(dashboard(body=b"", code=502))
    assert "cannot be reached (" in refusal("127.0.0.1:9")
    assert "give the URL of the cluster's dashboard" in refusal("ray://head:10001")


def test_files_of_this_machine_are_refused_by_a_cluster_elsewhere(
    dashboard: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    values = world.settings("s3://bucket/in", str(tmp_path / "out"), tmp_path / "model", "builtin:demo")
    request = submit.Request(config.parse(values), "run.yaml", dashboard(), "clipseg-ray submit run.yaml")
    with pytest.raises(
        UserError, match=r"the cluster cannot see this machine's files, and these are some: output\.url"
    ):
        submit.submit(request, follow=False)


class PlayedServer:
    """A job server on this machine. ``lost`` ids were used by somebody else a moment before us."""

    def __init__(self, lost: tuple[str, ...] = ()) -> None:
        self.address = "http://head:8265"
        self.shares_this_machine = True
        self.known: dict[str, str] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self.lost = list(lost)

    def jobs(self) -> list[Any]:
        return [
            SimpleNamespace(
                submission_id=name,
                status=SimpleNamespace(is_terminal=lambda state=state: state != "RUNNING"),
                metadata=self.metadata[name],
            )
            for name, state in self.known.items()
        ]

    def submit(self, submission_id: str, entrypoint: str, folder: Path, metadata: dict[str, str]) -> bool:
        assert entrypoint == "python -m clipseg_ray run run.yaml"
        assert (folder / "run.yaml").exists()
        if submission_id in self.known:
            return False
        taken = submission_id[-2:] in self.lost
        self.known[submission_id] = "RUNNING"
        self.metadata[submission_id] = metadata
        return not taken


def ask(monkeypatch: pytest.MonkeyPatch, server: PlayedServer, values: dict[str, Any], *changes: str) -> int:
    monkeypatch.setattr(submit, "JobServer", lambda _: server)
    request = submit.Request(config.parse(values, changes), "run.yaml", server.address, "clipseg-ray submit run.yaml")
    return submit.submit(request, follow=False)


@pytest.fixture
def values(tmp_path: Path, checkpoint_dir: Path) -> dict[str, Any]:
    world.write_tars(str(tmp_path / "in"), shards=2, images=2)
    table = world.write_table(tmp_path / "queries.jsonl")
    return world.settings(str(tmp_path / "in"), str(tmp_path / "out"), checkpoint_dir, table)


def test_attempts_are_counted_and_a_live_one_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    server = PlayedServer()
    assert ask(monkeypatch, server, values) == 0
    (first,) = server.known
    assert re.fullmatch(r"clipseg-[0-9a-f]{16}-a1", first)
    assert ask(monkeypatch, server, values, "pool.max=7") == 0
    assert list(server.known) == [first]
    assert f"{first} is running already" in capsys.readouterr().err

    server.known[first] = "FAILED"
    assert ask(monkeypatch, server, values) == 0
    assert list(server.known) == [first, f"{first[:-1]}2"]


def test_whoever_is_faster_runs_and_the_other_reports_it(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    server = PlayedServer(lost=("a1",))
    assert ask(monkeypatch, server, values) == 0
    assert [name[-2:] for name in server.known] == ["a1"]
    said = capsys.readouterr()
    assert "clipseg-ray status" in said.out
    assert "-a1 is running already on" in said.err
    assert "submitted to" not in said.err


def test_an_id_is_of_the_masks_and_the_images(monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]) -> None:
    def identity(*changes: str) -> str:
        return submit.identity(plan.look(config.parse(values, changes)))

    same = identity()
    assert same == identity("pool.max=9", "pool.wait_s=5")
    changed = [
        identity("masks.threshold=0.4"),
        identity("queries.where=query_id <> 'sit'"),
        identity("input.part=1/2"),
        identity("input.chunk_images=3"),
        identity(f"output.url={values['output']['url']}-two"),
    ]
    world.write_tars(values["input"]["url"], shards=1, images=2, first=2)
    changed.append(identity())
    assert len({same, *changed}) == 7


def test_another_run_into_the_same_output_is_reported(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    server = PlayedServer()
    ask(monkeypatch, server, values)
    (first,) = server.known
    capsys.readouterr()
    ask(monkeypatch, server, values, "queries.where=query_id <> 'sit'")
    assert f"note: {first} is running into the same output" in capsys.readouterr().err


def test_shares_of_the_same_cut_do_not_overlap(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    server = PlayedServer()
    for part in ("1/4", "2/4"):
        ask(monkeypatch, server, values, f"input.part={part}")
    assert len(server.known) == 2
    assert "note:" not in capsys.readouterr().err

    ask(monkeypatch, server, values, "input.part=1/3")
    assert capsys.readouterr().err.count("is running into the same output") == 2
