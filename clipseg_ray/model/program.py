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
        if compile:
            # Freezing folds the weights into the code: packed for the CPU's matrix products, constants elsewhere.
            options: dict[str, Any] | None = {"freezing": True} if device.type == "cpu" else None
            self._function = torch.compile(function, dynamic=False, options=options)

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run it. On a GPU the outputs are overwritten by the next call."""
        if self._device.type != "cuda":
            return _outputs(self._function(*inputs))
        key = tuple((tuple(tensor.shape), tensor.dtype) for tensor in inputs)
        if key not in self._captured:
            self._captured[key] = Captured(self._function, inputs)
        return self._captured[key](*inputs)

    def clear(self) -> None:
        """Give back the memory of captured graphs."""
        self._captured.clear()


class Captured:
    """A CUDA graph of `function` with buffers for its inputs and outputs.

    Each graph has a memory pool of its own, so the order in which graphs run does not matter.
    """

    def __init__(self, function: Function, inputs: tuple[torch.Tensor, ...]) -> None:
        self._inputs = tuple(tensor.clone() for tensor in inputs)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # compiles, autotunes and lets libraries allocate before anything is recorded
                function(*self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        # What the warm-up left in the ordinary pool is no use to the graph's own.
        torch.cuda.empty_cache()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = _outputs(function(*self._inputs))

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        for buffer, tensor in zip(self._inputs, inputs, strict=True):
            buffer.copy_(tensor, non_blocking=True)
        self._graph.replay()
        return self._outputs


def _outputs(result: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (result,) if isinstance(result, torch.Tensor) else result
