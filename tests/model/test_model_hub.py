"""Checkpoints by hub name, from a hub of our own on this machine: the right commit, each file once, then the cache."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError

from clipseg_ray.errors import UserError
from clipseg_ray.model.checkpoint import load, resolve_revision
from tests.model.layouts import as_released, edit, in_pieces

NAME = "someone/clipseg"
OLD, NEW = "a" * 40, "b" * 40


class Hub:
    """``commits``: a folder each; ``main``: the newest. ``asked``: method and path of every request."""

    def __init__(self) -> None:
        self.commits: dict[str, Path] = {}
        self.main = ""
        self.asked: list[tuple[str, str]] = []

    def answer(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        self.asked.append((method, path))
        if path.startswith(f"/api/models/{NAME}"):
            return 200, {"Content-Type": "application/json"}, json.dumps({"id": NAME, "sha": self.main}).encode()
        name, _, rest = path.partition("/resolve/")
        revision, _, file = rest.partition("/")
        commit = self.main if revision == "main" else revision
        if name != f"/{NAME}" or commit not in self.commits:
            return 404, {"X-Error-Code": "RepoNotFound" if name != f"/{NAME}" else "RevisionNotFound"}, b""
        found = self.commits[commit] / file
        if not found.is_file():
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b""
        data = found.read_bytes()
        return 200, {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(data).hexdigest()}"'}, data

    def fetched(self) -> list[str]:
        """The names of files whose bytes were sent, in order of name."""
        return sorted(path.rpartition("/")[2] for method, path in self.asked if method == "GET" and "/resolve/" in path)


@pytest.fixture
def hub(demo_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with two commits of a checkpoint, whose preprocessing differs."""
    served = Hub()
    for commit, side in ((OLD, 64), (NEW, 128)):
        served.commits[commit] = shutil.copytree(demo_directory, tmp_path / "hub" / commit)
        edit(served.commits[commit] / "preprocessor_config.json", size={"height": side, "width": side})
    served.main = NEW

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, data = served.answer(self.command, self.path)
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.chdir(tmp_path)
    yield served
    server.shutdown()
    server.server_close()


def test_a_name_is_its_newest_commit_and_a_commit_is_itself(hub: Hub, demo) -> None:
    assert resolve_revision(NAME, None) == NEW
    assert load(NAME).preprocessing.size == 128
    old = load(NAME, OLD)
    assert (old.preprocessing.size, old.revision, old.folder.name) == (64, OLD, OLD)
    assert old.weights_sha256 == demo.weights_sha256


def test_a_commit_in_the_cache_is_not_asked_for_again(hub: Hub) -> None:
    first = load(NAME, NEW)
    assert hub.fetched() == sorted(path.name for path in hub.commits[NEW].iterdir())
    hub.asked.clear()
    assert load(NAME, NEW).weights_sha256 == first.weights_sha256
    assert hub.asked == []


def test_a_branch_that_went_on_is_followed(hub: Hub) -> None:
    hub.main = OLD
    assert load(NAME).preprocessing.size == 64
    hub.main = NEW
    assert load(NAME).preprocessing.size == 128


def test_offline_the_cache_answers(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    load(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert resolve_revision(NAME, None) == NEW
    assert load(NAME).preprocessing.size == load(NAME, NEW).preprocessing.size == 128
    with pytest.raises(UserError, match=r"nobody/clipseg has no config\.json"):
        load("nobody/clipseg")
    assert hub.asked == []


def test_one_form_of_the_weights_is_fetched(hub: Hub) -> None:
    shutil.copyfile(hub.commits[NEW] / "model.safetensors", hub.commits[NEW] / "pytorch_model.bin")
    load(NAME)
    assert "model.safetensors" in hub.fetched()
    assert "pytorch_model.bin" not in hub.fetched()


def test_weights_in_pieces_and_the_released_layout(hub: Hub, demo) -> None:
    in_pieces(hub.commits[OLD])
    as_released(hub.commits[NEW])
    assert load(NAME, OLD).weights_sha256 == load(NAME, NEW).weights_sha256 == demo.weights_sha256
    assert {"merges.txt", "pytorch_model.bin", "special_tokens_map.json", "vocab.json"} <= set(hub.fetched())


def test_what_the_hub_lacks_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    (hub.commits[NEW] / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"someone/clipseg lacks tokenizer\.json"):
        load(NAME)
    with pytest.raises(UserError, match=r"model\.checkpoint: nobody/clipseg cannot be loaded"):
        load("nobody/clipseg")

    def unreachable(*arguments: str, revision: str) -> str:
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(UserError, match=r"someone/else cannot be loaded: no connection"):
        load("someone/else")
