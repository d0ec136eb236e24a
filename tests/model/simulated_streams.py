"""Streams, events and graphs of the simulated GPU (see `simulated_cuda`): work in queues, none of it done unasked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from tests.model.simulated_cuda import SimulatedCuda


class Mark:
    """A place in a stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.passed = stream, False


class Wait:
    """Nothing further until the mark is passed."""

    def __init__(self, mark: Mark) -> None:
        self.mark = mark


class Stream:
    """Work in order, none of it done before something asks for it."""

    simulator: SimulatedCuda

    def __init__(self, device: Any = None, name: str = "") -> None:
        self.index = self.simulator.index_of(device)
        self.device = torch.device("cuda", self.index)
        self.name = name or f"stream {next(self.simulator.numbers)}"
        self.work: deque[Any] = deque()
        self.capture: CUDAGraph | None = None
        self.simulator.streams.append(self)

    def mark(self) -> Mark:
        mark = Mark(self)
        self.work.append(mark)
        return mark

    def wait_stream(self, other: Stream) -> None:
        self.simulator.refuse_while_capturing("wait for a stream")
        self.work.append(Wait(other.mark()))
        self.simulator.advance()

    def wait_event(self, event: Event) -> None:
        self.simulator.refuse_while_capturing("wait for an event")
        if event.recorded is not None:
            self.work.append(Wait(event.recorded))
        self.simulator.advance()

    def synchronize(self) -> None:
        self.simulator.refuse_while_capturing("synchronise")
        self.run_to(self.mark())

    def step(self) -> bool:
        """Do the next thing; False if there is none or it has to wait."""
        if not self.work:
            return False
        first = self.work[0]
        if isinstance(first, Wait):
            if not first.mark.passed:
                return False
        elif isinstance(first, Mark):
            first.passed = True
        else:
            with torch._C._DisableTorchDispatch():  # numbers on the host, of no interest to the simulation
                first()
        self.work.popleft()
        return True

    def run_to(self, mark: Mark) -> None:
        while not mark.passed:
            if not self.step():
                waited = self.work[0].mark
                waited.stream.run_to(waited)


class Event:
    """torch.cuda.Event, without timing."""

    simulator: SimulatedCuda

    def __init__(self) -> None:
        self.recorded: Mark | None = None

    def record(self, stream: Stream | None = None) -> None:
        self.simulator.refuse_while_capturing("record an event")
        self.recorded = (stream or self.simulator.current_stream()).mark()
        self.simulator.advance()

    def synchronize(self) -> None:
        self.simulator.refuse_while_capturing("wait for an event")
        if self.recorded is not None:
            self.recorded.stream.run_to(self.recorded)


class CUDAGraph:
    """Work recorded while a stream captures, with the memory it allocated."""

    simulator: SimulatedCuda

    def __init__(self) -> None:
        self.owner = self.simulator  # the class's is another's once a next one is made
        self.work: list[Callable[[], None]] = []
        self.buffers: list[torch.Tensor] = []
        self.running: list[Any] = []
        self.invalid = False
        self.live, self.bytes = 0, 0  # in its pool: now, and at most while it was captured

    def capture_begin(self, *pool: Any, capture_error_mode: str = "global", check_input_liveness: bool = False) -> None:
        stream = self.simulator.current_stream()
        assert stream.name != "default", "CUDA graphs must be captured on a non-default stream"
        assert not stream.work, "work is still queued on the stream to be captured"
        stream.capture, self.stream = self, stream
        self.simulator.captures += 1

    def capture_end(self) -> None:
        self.stream.capture = None
        if self.invalid:
            raise torch.AcceleratorError("CUDA error: operation failed due to a previous error during capture")
        if self.simulator.unfinished:
            self.simulator.unfinished -= 1
            raise torch.AcceleratorError("CUDA error: out of memory")  # the graph could not be instantiated

    def replay(self) -> None:
        buffers, running = self.buffers, self.running  # not the graph itself, which may be destroyed meanwhile

        def start() -> None:
            for buffer in buffers:
                overwrite(buffer)

        running.append(start)
        self.simulator.replays += 1
        self.simulator.current_stream(self.stream.device).work.extend([start, *self.work, running.pop])
        self.simulator.advance()

    def __del__(self) -> None:
        self.owner.destroyed(self)


class Within:
    """torch.cuda.stream(stream)."""

    def __init__(self, simulator: SimulatedCuda, stream: Stream) -> None:
        self.simulator, self.stream = simulator, stream

    def __enter__(self) -> None:
        index = self.stream.index
        self.before = self.simulator.device_index, self.simulator.current[index]
        self.simulator.device_index, self.simulator.current[index] = index, self.stream

    def __exit__(self, *exception: Any) -> None:
        self.simulator.device_index, self.simulator.current[self.stream.index] = self.before


def overwrite(host: torch.Tensor) -> None:
    """What memory holds that nobody has written yet, or somebody else has."""
    with torch._C._DisableTorchDispatch():
        host.fill_(float("nan") if host.is_floating_point() else 0x55 if host.dtype != torch.int64 else 1 << 40)
