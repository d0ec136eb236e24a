"""Real S3-compatible servers on loopback, with keys."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3


@dataclass(frozen=True)
class S3Server:
    """One running server and the keys it accepts."""

    name: str
    endpoint: str
    key: str
    secret: str

    @property
    def environment(self) -> dict[str, str]:
        """The standard AWS variables that lead to this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }

    def client(self):
        """A boto3 client, for looking at the server past our own code."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
        )


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int, process: subprocess.Popen | None = None, seconds: float = 60) -> None:
    """Until something listens on the port."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port} after {seconds} s")


@contextlib.contextmanager
def moto_server() -> Iterator[S3Server]:
    """moto's server with access control on: a wrong key is refused."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "3"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port, process)
        endpoint = f"http://127.0.0.1:{port}"
        iam = boto3.client(
            "iam", endpoint_url=endpoint, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
        )
        iam.create_user(UserName="tests")
        made = iam.create_access_key(UserName="tests")["AccessKey"]
        iam.put_user_policy(
            UserName="tests",
            PolicyName="all",
            PolicyDocument='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}',
        )
        yield S3Server("moto", endpoint, made["AccessKeyId"], made["SecretAccessKey"])
    finally:
        process.terminate()
        process.wait(10)


def ceph_installed() -> bool:
    """Whether Ceph's monitor, object store daemon and gateway are on this machine."""
    return all(shutil.which(name) for name in ("radosgw", "ceph-mon", "ceph-osd", "ceph", "monmaptool"))


@contextlib.contextmanager
def ceph_server() -> Iterator[S3Server]:
    """Ceph's RADOS Gateway over one monitor and one in-memory object store daemon."""
    with tempfile.TemporaryDirectory(prefix="ceph.") as folder:
        root = Path(folder)
        for name in ("mon", "osd", "run", "log", "rgw"):
            (root / name).mkdir()
        port, mon_v1, mon_v2 = free_port(), free_port(), free_port()
        (root / "ceph.conf").write_text(_ceph_conf(root, port, mon_v1, mon_v2))
        environment = {**os.environ, "CEPH_CONF": str(root / "ceph.conf")}

        def call(*command: str) -> None:
            subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)

        monitors = f"[v2:127.0.0.1:{mon_v2},v1:127.0.0.1:{mon_v1}]"
        daemons = []

        def daemon(*command: str) -> None:
            daemons.append(
                subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )

        try:
            fsid = _conf_value(root / "ceph.conf", "fsid")
            call("monmaptool", "--create", "--fsid", fsid, "--addv", "a", monitors, str(root / "monmap"))
            call("ceph-mon", "-i", "a", "--mkfs", "--monmap", str(root / "monmap"))
            daemon("ceph-mon", "-f", "-i", "a")
            osd = str(uuid.uuid4())
            call("ceph", "osd", "new", osd)
            for step in (("add-bucket", "h", "host"), ("move", "h", "root=default"), ("add", "osd.0", "1.0", "host=h")):
                subprocess.run(["ceph", "osd", "crush", *step], env=environment, capture_output=True, timeout=60)
            call("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
            daemon("ceph-osd", "-f", "-i", "0")
            for _ in range(100):
                stat = subprocess.run(["ceph", "osd", "stat"], env=environment, capture_output=True, timeout=60)
                if b"1 up" in stat.stdout:
                    break
                time.sleep(0.1)
            daemon("radosgw", "-f", "-n", "client.rgw")
            wait_for(port, daemons[-1], 120)
            call(
                "radosgw-admin", "user", "create", "--uid=tests", "--display-name=tests",
                "--access-key=tests-key", "--secret-key=tests-secret-1234",
            )  # fmt: skip
            yield S3Server("ceph", f"http://127.0.0.1:{port}", "tests-key", "tests-secret-1234")
        finally:
            for process in reversed(daemons):
                process.kill()
                process.wait(10)


def _conf_value(path: Path, key: str) -> str:
    for line in path.read_text().splitlines():
        name, _, value = line.partition("=")
        if name.strip() == key:
            return value.strip()
    raise KeyError(key)


def _ceph_conf(root: Path, port: int, mon_v1: int, mon_v2: int) -> str:
    return f"""
[global]
fsid = {uuid.uuid4()}
mon host = [v2:127.0.0.1:{mon_v2},v1:127.0.0.1:{mon_v1}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
auth supported = none
run dir = {root}/run
admin socket = {root}/run/$name.asok
pid file = {root}/run/$name.pid
log file = {root}/log/$name.log
crash dir = {root}/run
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon osd full ratio = 0.98
mon osd backfillfull ratio = 0.97
mon osd nearfull ratio = 0.96
osd objectstore = memstore
memstore device bytes = 1073741824
osd memory target = 939524096
mon data avail warn = 1
mon data avail crit = 1
[mon.a]
mon data = {root}/mon
[osd.0]
osd data = {root}/osd
[client.rgw]
rgw data = {root}/rgw
ms mon client mode = crc
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw thread pool size = 32
rgw enable usage log = false
rgw enable ops log = false
"""
