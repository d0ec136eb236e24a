"""A function of tensors made fast for fixed shapes: as it is, compiled, or captured as a CUDA graph."""

from collections.abc import Callable
from typing import Any

import torch

Function = Callable[..., torch.Tensor | tuple[torch.Tensor, ...]]


class Program:
    """`function` for a device: plain or compiled on a CPU, a CUDA graph per input shape on a GPU.

    Where `static` is true the caller pads its inputs to few shapes: each new one is compiled or captured anew.
    A single tensor that `function` returns counts as a tuple of one.
    """

    def __init__(self, function: Function, device: torch.device, compile: bool) -> None:
        self._device = device
        self._function: Any = function
        self._captured: dict[tuple[Any, ...], Captured] = {}
        self.static = compile or device.type == "cuda"
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)
        if compile:
            # Freezing folds the weights into the code: packed for the CPU's matrix products, constants elsewhere.
            # Deterministic: what Inductor would choose by timing on a GPU could differ from one actor to the next.
            option = "freezing" if device.type == "cpu" else "deterministic"
            self._function = torch.compile(function, dynamic=False, options={option: True})

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run it. On a GPU the outputs are overwritten by the next call."""
        if self._device.type != "cuda":
            return _outputs(self._function(*inputs))
        key = tuple((tuple(tensor.shape), tensor.dtype) for tensor in inputs)
        # The current device is each thread's own, and an actor's threads are not the one the engine was made in.
        with torch.cuda.device(self._device):
            if key not in self._captured:
                self._captured[key] = Captured(self._function, inputs, self._stream)
            return self._captured[key](*inputs)

    def clear(self) -> None:
        """Give back the memory of captured graphs, none of which may be running."""
        self._captured.clear()


class Captured:
    """A CUDA graph of `function` with buffers for its inputs and outputs, captured on `stream`.

    Each graph has a memory pool of its own, so the order in which graphs run does not matter. `stream` should always be
    the same: libraries keep workspace for each stream they were used on. Warm-up and capture share it, so that the
    workspace is there before anything is recorded and does not lie in the graph's pool.
    """

    def __init__(self, function: Function, inputs: tuple[torch.Tensor, ...], stream: torch.cuda.Stream) -> None:
        self._inputs = tuple(tensor.clone() for tensor in inputs)
        current = torch.cuda.current_stream()
        stream.wait_stream(current)
        try:
            # `torch.cuda.graph` leaves its stream the current one where it cannot end a capture; this restores it.
            with torch.cuda.stream(stream):
                for _ in range(2):  # compiles, and lets libraries load their code before anything is recorded
                    function(*self._inputs)
                self._graph = torch.cuda.CUDAGraph()
                # Other threads of the process may allocate while this one captures.
                with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                    self._outputs = _outputs(function(*self._inputs))
        finally:
            # Also where it fails: whoever gets the memory of the inputs next must not write there yet.
            current.wait_stream(stream)

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        for buffer, tensor in zip(self._inputs, inputs, strict=True):
            buffer.copy_(tensor, non_blocking=True)
        self._graph.replay()
        return self._outputs


def padded(tensor: torch.Tensor, size: int) -> torch.Tensor:
    """`tensor` with zeros appended along its first axis, for a program that is static."""
    if len(tensor) >= size:
        return tensor
    return torch.cat([tensor, tensor.new_zeros(size - len(tensor), *tensor.shape[1:])])


def _outputs(result: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (result,) if isinstance(result, torch.Tensor) else result
