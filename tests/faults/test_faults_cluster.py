"""Clusters that lose nodes, get new ones, grow from nothing and shrink again, and what the dataset looks like then.

The GPUs are only counted: an actor holds one and computes on the CPU. The times are printed (``pytest -s``).
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.faults import clusters, heavy
from tests.faults.clusters import Cluster
from tests.made import make
from tests.pipeline import world

pytestmark = pytest.mark.slow

SHARDS, IMAGES = 4, 20
CHUNKS = SHARDS * IMAGES // 2
PATIENCE_S = 1200
"""For each thing that is waited for: on a busy machine nodes and actors take minutes to start."""
BEGUN_AT_ONCE = 2
"""Chunks an actor works on at a time: what is lost with it."""
RUN = heavy.INSTALL + "import sys\nfrom clipseg_ray.cli import main\nsys.argv[1:1] = ['run']\nmain()\n"


class Driver:
    """``clipseg-ray run`` on a cluster, as a process of its own, and what it prints."""

    def __init__(self, cluster: Cluster, settings: Path) -> None:
        self._log = settings.with_suffix(f".{time.monotonic_ns()}.log")
        self.output = Path(yaml.safe_load(settings.read_text())["output"]["url"])
        with self._log.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN, str(settings)],
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**cluster.environment, "RAY_ADDRESS": cluster.address},
                start_new_session=True,
            )
        cluster.drivers.append(self.process)
        self.started = time.monotonic()

    @property
    def text(self) -> str:
        """All that was printed so far."""
        return self._log.read_text(errors="replace")

    @property
    def parts(self) -> int:
        """Chunks that are done."""
        return len(list(self.output.glob("masks/*/*.parquet")))

    def wait_for(self, text: str, seconds: float = PATIENCE_S) -> float:
        """Until it has printed this; the time then."""
        return self._wait(lambda: text in self.text, f"{text!r} was not printed", seconds)

    def wait_for_parts(self, parts: int, seconds: float = PATIENCE_S) -> float:
        """Until so many chunks are done; the time then."""
        return self._wait(lambda: self.parts >= parts, f"no {parts} parts", seconds)

    def finish(self, seconds: float = PATIENCE_S) -> str:
        """What was printed, once it ended well."""
        code = self.process.wait(seconds)
        assert code == 0, self.text
        return self.text

    def _wait(self, done, complaint: str, seconds: float) -> float:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if done():
                return time.monotonic()
            assert self.process.poll() is None, f"the run ended early, {complaint}: {self.text}"
            time.sleep(0.1)
        raise AssertionError(f"{complaint} in {seconds} s: {self.text}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, checkpoint_dir: Path) -> Path:
    """The input, and the output of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("cluster")
    world.write_tars(str(folder / "in"), SHARDS, IMAGES)
    make(yaml.safe_load(write_config(folder, checkpoint_dir, "undisturbed").read_text()))
    return folder


@pytest.fixture(scope="module")
def started() -> Iterator[Cluster]:
    """One head for the tests that only need nodes."""
    with clusters.cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(started: Cluster) -> Cluster:
    """Three nodes, whatever the test before did to them."""
    while len(started.nodes) < 3:
        started.add_node()
    return started


def write_config(folder: Path, checkpoint: Path, output: str, most: int = 3) -> Path:
    """A run that computes on CPUs while it holds GPUs, at most so many."""
    table = world.write_table(folder / "queries.jsonl")
    values = world.settings(
        str(folder / "in"),
        str(folder / output),
        checkpoint,
        table,
        model={"device": "cpu"},
        pool={"gpus": 1, "max": most, "wait_s": PATIENCE_S},
    )
    path = folder / f"{output}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def assert_undisturbed(folder: Path, output: str, *, most_repeated: int) -> None:
    """The same rows, each part once, and few chunks begun more than once."""
    for table in (world.images, world.masks):
        assert table(str(folder / output)).equals(table(str(folder / "undisturbed")))
    begun = heavy.begun(folder / output)
    assert len(begun) == CHUNKS
    repeated = begun.total() - CHUNKS
    print(f"{output}: {repeated} of {CHUNKS} chunks computed again")
    assert repeated <= most_repeated


def test_the_driver_is_killed_and_the_run_submitted_again(cluster: Cluster, folder: Path, checkpoint_dir: Path) -> None:
    settings = write_config(folder, checkpoint_dir, "again")
    first = Driver(cluster, settings)
    first.wait_for_parts(8)
    first.process.kill()
    first.process.wait(30)
    done = first.parts
    assert done < CHUNKS
    second = Driver(cluster, settings)
    began = second.wait_for_parts(done + 4)
    print(f"\nthe second driver's first chunks: {began - second.started:.1f} s after its start")
    text = second.finish()
    assert "3 actor(s)" in text
    assert_undisturbed(folder, "again", most_repeated=3 * BEGUN_AT_ONCE)


def test_a_node_is_killed_and_another_joins(cluster: Cluster, folder: Path, checkpoint_dir: Path) -> None:
    driver = Driver(cluster, write_config(folder, checkpoint_dir, "replaced"))
    driver.wait_for_parts(6)
    cluster.kill_node(cluster.node_of(heavy.busiest(driver.output)))
    killed = time.monotonic()
    cluster.add_node()
    print(f"\na lost node was reported after {driver.wait_for('is gone') - killed:.1f} s")
    print(f"a new one after {driver.wait_for('joined') - killed:.1f} s")
    text = driver.finish()
    assert "failed 0" in text
    assert_undisturbed(folder, "replaced", most_repeated=BEGUN_AT_ONCE)


def test_all_gpu_nodes_are_killed_and_one_comes_back(cluster: Cluster, folder: Path, checkpoint_dir: Path) -> None:
    driver = Driver(cluster, write_config(folder, checkpoint_dir, "one-back"))
    driver.wait_for_parts(6)
    for node in list(cluster.nodes):
        cluster.kill_node(node)
    killed = time.monotonic()
    print(f"\nall nodes' loss was reported after {driver.wait_for('the cluster has 0 CPU, 0 GPU') - killed:.1f} s")
    driver.wait_for("no actor ready for")
    done = driver.parts
    cluster.add_node()
    added = time.monotonic()
    print(f"the first chunk after a node came back: {driver.wait_for_parts(done + 1) - added:.1f} s")
    driver.finish()
    assert "each needs 1 GPU; the cluster has 0 CPU, 0 GPU" in driver.text
    assert_undisturbed(folder, "one-back", most_repeated=3 * BEGUN_AT_ONCE)


def test_a_cluster_grows_from_nothing_and_shrinks_again(folder: Path, checkpoint_dir: Path) -> None:
    with clusters.autoscaling_cluster(gpu_nodes=3) as cluster:
        driver = Driver(cluster, write_config(folder, checkpoint_dir, "grown", most=6))
        driver.wait_for("up to 6 actor(s) (room for 0 now, others wait for nodes)")
        asked = time.monotonic()
        for what in ("joined", "the cluster has 3 CPU, 3 GPU now"):
            print(f"{what} after {driver.wait_for(what) - asked:.1f} s")
        print(f"first chunk after {driver.wait_for_parts(1) - asked:.1f} s")
        driver.finish()
        ended = time.monotonic()
        print(f"all {CHUNKS} chunks after {ended - asked:.1f} s")
        wait_for_no_nodes(cluster)
        print(f"no node left {time.monotonic() - ended:.1f} s after the end")
    assert_undisturbed(folder, "grown", most_repeated=0)


def wait_for_no_nodes(cluster: Cluster, seconds: float = PATIENCE_S) -> None:
    """Until the autoscaler has taken every node away."""
    deadline = time.monotonic() + seconds
    while cluster.launched():
        assert time.monotonic() < deadline, f"{cluster.launched()} node(s) are left"
        time.sleep(0.5)
