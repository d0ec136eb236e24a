import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

from benchmarks.random_checkpoint import write_checkpoint
from clipseg_ray.masks import packing_kernel
from clipseg_ray.model import feedforward_kernel
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


@pytest.fixture
def without_triton(monkeypatch):
    """Its kernels, which have tests of their own, cannot run on a simulated GPU."""
    for kernel in (feedforward_kernel, packing_kernel):
        monkeypatch.setattr(kernel, "triton", None)


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """As little as has every part, since each operation takes its time: two blocks, two taps, 48 pixels."""
    directory = tmp_path_factory.mktemp("checkpoints")
    write_checkpoint(directory, image_size=48, vision_config={"num_hidden_layers": 2}, extract_layers=[0, 1])
    return load(str(directory))
