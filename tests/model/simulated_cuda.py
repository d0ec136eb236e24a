"""CUDA devices that exist in this process only, so that code for GPUs runs, and goes wrong as there, on a CPU.

    with SimulatedCuda(monkeypatch) as cuda:
        engine = Engine(make_model(checkpoint, device="cuda", ...))

Tensors claim to be on ``cuda:n`` and may not meet those of the host; their numbers are kept on the CPU. What makes a
GPU treacherous is what is simulated:

* Work is queued on streams and done when something waits for it, or when the schedule says so: streams named in `lag`
  do nothing until they are waited for, the others run on as far as their waits allow. A missing wait reads numbers that
  are not there yet: NaN, or an index out of range.
* Freed memory is overwritten as soon as the allocator could give it away: when the stream it was allocated on, and the
  streams it was recorded for, have come to where they were when it was freed.
* Captured work is not run; a replay overwrites every buffer of its graph first.
* Memory runs short: at `capacity` bytes, or in a capture, which may fail over it in three ways.

Not simulated: what kernels compute (PyTorch's own on the CPU), speed, and errors other than a shortage of memory.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from tests.model.simulated_streams import CUDAGraph, Event, Stream, Wait, Within, overwrite
from tests.model.simulated_tensors import DeviceTensor, Memory, shapes_of, unwritten

aten = torch.ops.aten


class SimulatedCuda(TorchDispatchMode):
    """`devices` simulated GPUs in place of ``torch.cuda`` while entered.

    lag: the names ("default", or "stream 1" and so on in the order of their making) of the streams that do nothing
    until they are waited for, or "all". capacity: bytes, None for any number. refusals: how many captures to refuse
    memory for; invalidations: the same, with the capture lost over it; unfinished: how many captures to refuse memory
    for when they end.
    """

    def __init__(self, monkeypatch: Any, lag: str | tuple[str, ...] = (), devices: int = 1) -> None:
        super().__init__()
        self.lag, self.capacity = lag, None
        self.refusals, self.invalidations, self.unfinished = 0, 0, 0
        self.used, self.peak, self.captures, self.replays, self.downloaded = 0, 0, 0, 0, 0
        self.streams: list[Stream] = []
        self.numbers = itertools.count(1)
        self.open, self.faults = True, []
        self._pinned: dict[int, Any] = {}
        self.device_index = 0
        for kind in (Stream, Event, CUDAGraph):
            monkeypatch.setattr(kind, "simulator", self, raising=False)
            monkeypatch.setattr(torch.cuda, kind.__name__, kind)
        self.default = [Stream(index, name="default") for index in range(devices)]
        self.current = list(self.default)
        for name in (
            "current_stream",
            "current_device",
            "set_device",
            "stream",
            "device",
            "synchronize",
            "get_device_capability",
        ):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: self.refuse_while_capturing("empty the cache"))
        monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
        monkeypatch.setattr(torch._C, "_host_emptyCache", lambda: None, raising=False)
        monkeypatch.setattr(torch.cuda.graph, "default_capture_stream", None)
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: self._pin(tensor))
        # Assigning to a parameter's data is beyond a tensor that only looks like one on a GPU.
        monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)

    def __exit__(self, *exception: Any) -> None:
        self.open = False
        super().__exit__(*exception)
        assert not self.faults

    # ---- what torch.cuda offers

    def index_of(self, device: Any) -> int:
        if device is None:
            return self.device_index
        if isinstance(device, int):
            return device
        index = torch.device(device).index
        return self.device_index if index is None else index

    def current_device(self) -> int:
        return self.device_index

    def set_device(self, device: Any) -> None:
        self.device_index = self.index_of(device)

    def current_stream(self, device: Any = None) -> Stream:
        return self.current[self.index_of(device)]

    def get_device_capability(self, device: Any = None) -> tuple[int, int]:
        return 9, 0

    @contextlib.contextmanager
    def device(self, device: Any) -> Iterator[None]:
        before = self.device_index
        self.device_index = self.index_of(device)
        try:
            yield
        finally:
            self.device_index = before

    def stream(self, stream: Stream) -> Within:
        return Within(self, stream)

    def synchronize(self, device: Any = None) -> None:
        self.refuse_while_capturing("synchronise")
        for stream in list(self.streams):
            if stream.index == self.index_of(device):
                stream.synchronize()

    # ---- work and memory

    def refuse_while_capturing(self, what: str) -> None:
        if any(stream.capture is not None for stream in self.streams):
            raise torch.AcceleratorError(f"CUDA error: operation not permitted when stream is capturing ({what})")

    def advance(self) -> None:
        """Run whatever does not lag as far as it can."""
        if self.lag == "all":
            return
        moved = True
        while moved:
            moved = False
            for stream in self.streams:
                if stream.name not in self.lag:
                    while stream.step():
                        moved = True

    def allocate(self, memory: Memory) -> None:
        size, graph = memory.base.nbytes, memory.graph
        if graph is not None and (self.refusals or self.invalidations):
            graph.invalid = not self.refusals
            self.refusals, self.invalidations = max(0, self.refusals - 1), self.invalidations - graph.invalid
            raise torch.OutOfMemoryError("CUDA out of memory (simulated, in a capture)")
        grown = size if graph is None else max(0, graph.live + size - graph.bytes)
        if self.capacity is not None and self.used + grown > self.capacity:
            raise torch.OutOfMemoryError(f"CUDA out of memory (simulated): {self.used} of {self.capacity} bytes used")
        if graph is not None:
            graph.live += size
            graph.bytes += grown
        self.used += grown
        self.peak = max(self.peak, self.used)
        memory.is_allocated = True

    def free(self, memory: Memory) -> None:
        if not self.open or not memory.is_allocated:
            return
        base, graph = memory.base, memory.graph
        if graph is not None:  # its memory stays with the graph, whose further work may lie there
            graph.live -= base.nbytes
            if memory.stream.capture is graph:
                graph.work.append(lambda: overwrite(base))
            return
        self.used -= base.nbytes
        reuse = Stream(memory.stream.index, name="reuse")
        reuse.work.extend(Wait(stream.mark()) for stream in (memory.stream, *memory.used_on))
        reuse.work.append(lambda: overwrite(base))
        self.streams = [stream for stream in self.streams if stream.name != "reuse" or stream.work]
        self.advance()

    def destroyed(self, graph: CUDAGraph) -> None:
        if self.open:
            self.used -= graph.bytes
            if graph.running:
                self.faults.append("a graph was destroyed while it ran")

    def _pin(self, tensor: torch.Tensor) -> torch.Tensor:
        self.refuse_while_capturing("allocate pinned memory")
        pinned = tensor.clone(memory_format=torch.contiguous_format)
        self._pinned[pinned.untyped_storage().data_ptr()] = pinned
        return pinned

    def _is_pinned(self, tensor: torch.Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._pinned

    def _wrap(self, host: torch.Tensor, stream: Stream) -> DeviceTensor:
        return DeviceTensor(host, Memory(self, host, stream))

    def _queue(self, stream: Stream, work: Callable[[], None]) -> None:
        if stream.capture is not None:
            stream.capture.work.append(work)
        else:
            stream.work.append(work)
            self.advance()

    # ---- operations

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        ours = [tensor for tensor in tensors if isinstance(tensor, DeviceTensor)]
        target = kwargs.get("device")
        # A scalar that PyTorch's C++ puts beside a tensor goes to what it takes for the tensor's device, "meta".
        if not ours and (target is None or torch.device(target).type not in ("cuda", "meta")):
            if kwargs.pop("pin_memory", None):
                made = func(*args, **kwargs)
                overwrite(made)
                self._pinned[made.untyped_storage().data_ptr()] = made
                return made
            return func(*args, **kwargs)
        index = ours[0].memory.stream.index if ours else self.index_of(target)
        stream = self.current[index]
        if func is aten._to_copy.default:
            return self._to_copy(args[0], kwargs, stream)
        if func is aten.copy_.default and not all(isinstance(tensor, DeviceTensor) for tensor in tensors):
            return self._copy_between(args[0], args[1], len(args) > 2 and args[2], stream)
        if func is aten._local_scalar_dense.default:
            stream.synchronize()
            return func(args[0].host)
        for tensor in tensors:
            if not isinstance(tensor, DeviceTensor) and tensor.dim():
                raise RuntimeError(f"{func}: tensors on cuda and on cpu meet, or the host would have to wait")
        if len({tensor.memory.stream.index for tensor in ours}) > 1:
            raise RuntimeError(f"{func}: tensors of two GPUs meet")
        inner_args, inner_kwargs = tree_map_only(DeviceTensor, lambda tensor: tensor.host, (args, kwargs))
        if "device" in inner_kwargs:
            inner_kwargs["device"] = torch.device("cpu")
        if func.is_view:
            made = func(*inner_args, **inner_kwargs)
            return tree_map_only(torch.Tensor, lambda host: DeviceTensor(host, ours[0].memory), made)
        if any(argument.alias_info is not None and argument.alias_info.is_write for argument in func._schema.arguments):
            self._queue(stream, lambda: func(*inner_args, **inner_kwargs))
            return args[0]
        return self._compute(func, inner_args, inner_kwargs, stream)

    def _compute(self, func: Any, args: Any, kwargs: Any, stream: Stream) -> Any:
        """Outputs of the right shapes now, their numbers later."""
        made = tree_map_only(
            torch.Tensor, lambda meta: self._wrap(unwritten(meta), stream), shapes_of(func, args, kwargs)
        )
        hosts = [tensor.host for tensor in tree_leaves(made) if isinstance(tensor, DeviceTensor)]

        def run() -> None:
            results = [leaf for leaf in tree_leaves(func(*args, **kwargs)) if isinstance(leaf, torch.Tensor)]
            for host, result in zip(hosts, results, strict=True):
                host.copy_(result)

        self._queue(stream, run)
        return made

    def _to_copy(self, source: torch.Tensor, kwargs: dict[str, Any], stream: Stream) -> torch.Tensor:
        non_blocking = kwargs.pop("non_blocking", False)
        kwargs.pop("pin_memory", None)
        target = kwargs.pop("device", None)
        target = source.device if target is None else torch.device(target)
        if isinstance(source, DeviceTensor) and target.type == "cuda":
            return self._compute(aten._to_copy.default, (source.host,), kwargs, stream)
        if isinstance(source, DeviceTensor):
            made = unwritten(aten._to_copy.default(source.host.to("meta"), **kwargs))
            return self._copy_between(made, source, non_blocking, stream)
        shape = aten._to_copy.default(source.to("meta"), **kwargs)
        return self._copy_between(self._wrap(unwritten(shape), stream), source, non_blocking, stream)

    def _copy_between(
        self, target: torch.Tensor, source: torch.Tensor, non_blocking: bool, stream: Stream
    ) -> torch.Tensor:
        to_host = target.host if isinstance(target, DeviceTensor) else target
        if isinstance(source, DeviceTensor):
            from_host = source.host
        else:
            from_host = source if non_blocking and self._is_pinned(source) else source.clone()
        self._queue(stream, lambda: to_host.copy_(from_host))
        if isinstance(source, DeviceTensor) and not isinstance(target, DeviceTensor):
            self.downloaded += target.nbytes
        if isinstance(source, DeviceTensor) and not (non_blocking and self._is_pinned(target)):
            stream.synchronize()
        return target
