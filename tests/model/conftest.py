import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

from benchmarks.random_checkpoint import write_checkpoint
from clipseg_ray.model.checkpoint import load

torch.set_num_threads(1)  # as in an actor; and threads of several test runs would wait for each other


@pytest.fixture(scope="session")
def demo_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("checkpoints") / "demo"
    write_checkpoint(directory, image_size=96)
    return directory


@pytest.fixture(scope="session")
def demo(demo_directory):
    return load(str(demo_directory))
