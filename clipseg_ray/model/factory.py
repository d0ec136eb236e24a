"""The model of a checkpoint: here alone it is decided which."""

from __future__ import annotations

from collections.abc import Collection

import torch

from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.model.clipseg import Clipseg
from clipseg_ray.model.headroom import Headroom
from clipseg_ray.model.protocol import SegmentationModel


def make_model(
    checkpoint: Checkpoint,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    compile: bool = False,
    batch: int,
    decode_chunk: int,
    columns: Collection[str] = (),
) -> SegmentationModel:
    """The checkpoint's model on a device, ready to be asked; the checkpoint can be dropped afterwards.

    batch: images encoded together. decode_chunk: (image, query) rows decoded together. Where a GPU's memory is short
    they are halved. precision, compile: see ``Clipseg``. columns: the optional columns the model is to fill.
    """
    place = torch.device(device)
    if place.type == "cuda" and place.index is None:
        place = torch.device("cuda", torch.cuda.current_device())
    headroom = Headroom(place, batch=batch, decode_chunk=decode_chunk)
    return Clipseg(checkpoint, headroom, precision=precision, compile=compile, presence="presence" in columns)
