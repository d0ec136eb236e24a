"""What the whole suite shares: a small checkpoint, S3 servers, one Ray cluster."""

from __future__ import annotations

import os
import secrets

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from tests.made import made, output, upload  # noqa: F401
from tests.servers.s3 import S3Server, ceph_installed, ceph_server, moto_server

_names = itertools.count()
torch.set_num_threads(1)


_RAY = (
    "tests/pipeline/",
    "tests/cluster/",
    "tests/forecast/",
    "tests/upkeep/test_upkeep_compact_job",
    "tests/evaluation/test_evaluation_job",
    "tests/evaluation/test_evaluation_paper",
    "tests/training/test_training_job",
)
"""Where the tests are that need the session's Ray cluster."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Two processes share the suite file by file (``make test``); what needs the Ray cluster stays in one of them."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "ray" if nodeid.startswith(_RAY) else nodeid.partition("::")[0]

    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest share first, so that nothing is waited for alone at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(_RAY))


@pytest.fixture(scope="session")
def checkpoint_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small seeded CLIPSeg in transformers' own format."""
    from benchmarks.random_checkpoint import write_checkpoint

    directory = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(directory, image_size=96)
    return directory


@pytest.fixture(scope="session")
def s3_servers() -> Iterator[dict[str, S3Server]]:
    """Every S3 server this machine can run, by name."""
    with ExitStack() as stack:
        servers = {"moto": stack.enter_context(moto_server())}
        if ceph_installed():
            servers["ceph"] = stack.enter_context(ceph_server())
        yield servers


_needs_ceph = pytest.mark.skipif(not ceph_installed(), reason="Ceph is not installed")


@pytest.fixture(params=["moto", pytest.param("ceph", marks=_needs_ceph)])
def s3(request: pytest.FixtureRequest, s3_servers: dict[str, S3Server], monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """A server with the environment set to reach it; clients of earlier tests are forgotten."""
    server = s3_servers[request.param]
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    forget_s3_clients()
    return server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """The URL of a new empty bucket."""
    name = f"bucket-{os.getpid()}-{next(_names)}"
    s3.client().create_bucket(Bucket=name)
    return f"s3://{name}"


def forget_s3_clients() -> None:
    """s3fs keeps one client per settings for the process; the environment is not among them."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray cluster of two CPUs for all tests that need one."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two photos of one name, one of them with markup in the folder's, and a broken one."""
    from tests.pipeline import world

    for folder, seed in (("one", 1), ("<b>two", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "photo.jpg").write_bytes(world.jpeg(seed))
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    monkeypatch.chdir(tmp_path)
    return tmp_path
