"""How much goes through the device at a time, and what happens where its memory is short."""

import logging
import traceback

import torch

from clipseg_ray.errors import UserError
from clipseg_ray.model.program import Program

log = logging.getLogger(__name__)

# What CUDA's libraries and Triton say in errors of their own, with no type to tell them by.
_SIGNS = ("out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")
# What a capture ends with that a shortage has made invalid.
_INVALIDATED = "previous error during capture"


def is_short_of_memory(error: BaseException) -> bool:
    """Whether `error` says that a device's memory did not suffice, which leaves the device as usable as before.

    PyTorch's allocator raises OutOfMemoryError; graphs, streams and pinned memory AcceleratorError; cuBLAS, cuDNN and
    Triton RuntimeError. In a capture the shortage may be hidden behind the capture's own error
    (https://github.com/pytorch/pytorch/issues/159594); PyTorch 2.13 then keeps the capture's memory until the process
    ends (https://github.com/pytorch/pytorch/pull/190348), but works.
    """
    if isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _SIGNS):
        return True
    hidden = error.__context__
    return _INVALIDATED in str(error) and hidden is not None and is_short_of_memory(hidden)


class Headroom:
    """Sizes that are halved, each at most log₂ times, when the device's memory is short.

    batch: images encoded together. decode_chunk: (image, query) rows decoded together. programs: whatever keeps
    memory for these sizes and is to give it back when they change.
    """

    def __init__(self, device: torch.device, *, batch: int, decode_chunk: int) -> None:
        self.device, self.batch, self.decode_chunk = device, batch, decode_chunk
        self.programs: list[Program] = []

    def fewer_rows(self, error: RuntimeError) -> None:
        """Decode half as many rows from now on; at one row, encode fewer images. Raises `error` if it is another."""
        if self.decode_chunk == 1:
            self.fewer_images(error)
            return
        if not is_short_of_memory(error):
            raise error
        self.decode_chunk //= 2
        log.warning("device memory is short: decoding %d rows at a time from now on", self.decode_chunk)
        self._release(error)

    def fewer_images(self, error: RuntimeError) -> None:
        """Encode half as many images from now on. Raises `error` if it is another, UserError at one image."""
        if not is_short_of_memory(error):
            raise error
        if self.batch == 1:
            raise UserError(
                f"model.device: {self.device} has too little free memory for one image; free it or use fp16/bf16"
            ) from error
        self.batch //= 2
        log.warning("device memory is short: encoding %d images at a time from now on", self.batch)
        self._release(error)

    def _release(self, error: BaseException) -> None:
        if self.device.type == "cuda":
            # What is queued may still read what is about to be given away.
            torch.cuda.synchronize(self.device)
        # The frames the error has passed through hold on to tensors.
        met: BaseException | None = error
        while met is not None and is_short_of_memory(met):
            traceback.clear_frames(met.__traceback__)
            met = met.__context__
        for program in self.programs:
            program.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
