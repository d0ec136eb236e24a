"""Whether a driver that a heartbeat names is still there: known at once on its own machine, never guessed elsewhere."""

import json
import subprocess
import sys

import pytest

from clipseg_ray.results.driver_process import identity, is_gone

NAME = "import json; from clipseg_ray.results.driver_process import identity; print(json.dumps(identity()), flush=True)"


def test_a_process_is_there_until_it_ends() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", f"{NAME}; input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    named = json.loads(process.stdout.readline())
    assert named["pid"] == process.pid
    assert not is_gone(named)
    process.kill()
    process.wait()
    assert is_gone(named)


def test_a_number_that_was_given_again_is_another_process() -> None:
    assert not is_gone(identity())
    assert is_gone({**identity(), "started": "1"})


@pytest.mark.parametrize("other", [{"boot": "another"}, {"namespace": "pid:[1]"}])
def test_nothing_is_known_of_other_machines_and_containers(other: dict) -> None:
    assert not is_gone({**identity(), "pid": 2**22 + 1, **other})


@pytest.mark.parametrize("broken", [None, "17", {}, {"pid": "17"}, []])
def test_what_is_no_identity_says_nothing(broken: object) -> None:
    assert not is_gone(broken)
