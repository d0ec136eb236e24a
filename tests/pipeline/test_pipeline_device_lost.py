"""When an actor leaves its process, and when not."""

import pytest
import torch

from clipseg_ray.pipeline import segmenter


@pytest.mark.parametrize(
    ("error", "leaves"),
    [
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (torch.AcceleratorError("CUDA error: out of memory"), False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), False),
        (ValueError("no images to encode"), False),
    ],
)
def test_an_actor_leaves_when_its_device_is_lost_but_not_when_memory_is_short(monkeypatch, error, leaves):
    left = []
    monkeypatch.setattr(segmenter.os, "_exit", left.append)
    segmenter._leave_if_the_device_is_lost(error)
    assert left == [1] * leaves
