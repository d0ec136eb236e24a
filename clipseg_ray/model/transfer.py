"""Copies between host and device that run beside the computation; on a CPU there is nothing to copy."""

from collections.abc import Sequence

import numpy as np
import torch


class Pending:
    """Arrays on their way to the host."""

    def __init__(self, tensors: Sequence[torch.Tensor], done: torch.cuda.Event | None) -> None:
        self._tensors, self._done = tensors, done

    def wait(self) -> list[np.ndarray]:
        """The arrays, once all of them have arrived."""
        if self._done is not None:
            self._done.synchronize()
        return [tensor.numpy() for tensor in self._tensors]


class Upload:
    """Tensors on their way to the device."""

    def __init__(self, tensors: tuple[torch.Tensor, ...], there: torch.cuda.Event | None) -> None:
        self._tensors, self._there = tensors, there

    def take(self) -> tuple[torch.Tensor, ...]:
        """The tensors; work queued on the current stream from now on waits for them, the host does not."""
        if self._there is not None:
            current = torch.cuda.current_stream(self._tensors[0].device)
            current.wait_event(self._there)
            for tensor in self._tensors:
                tensor.record_stream(current)
        return self._tensors


class Link:
    """The way to a device and back.

    On a GPU each direction has a stream of its own and goes through pinned memory. PyTorch's pinned allocator hands
    a block out again only when the copies that use it are over, so uploading one batch ahead is double buffering.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.cuda = device.type == "cuda"
        if self.cuda:
            self._up, self._down = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def upload(self, *tensors: torch.Tensor) -> "Upload":
        """Start copying host tensors to the device; nothing waits until they are taken."""
        if not self.cuda:
            return Upload(tensors, None)
        with torch.cuda.stream(self._up):
            copies = tuple(tensor.pin_memory().to(self.device, non_blocking=True) for tensor in tensors)
            there = torch.cuda.Event()
            there.record(self._up)
        return Upload(copies, there)

    def download(self, *tensors: torch.Tensor) -> Pending:
        """Start copying device tensors to the host. They may be overwritten by work queued after this call."""
        if not self.cuda:
            return Pending(tensors, None)
        copies = [tensor.clone() for tensor in tensors]
        self._down.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._down):
            host = [torch.empty(copy.shape, dtype=copy.dtype, pin_memory=True) for copy in copies]
            for copy, target in zip(copies, host, strict=True):
                target.copy_(copy, non_blocking=True)
                copy.record_stream(self._down)
            done = torch.cuda.Event()
            done.record(self._down)
        return Pending(host, done)
