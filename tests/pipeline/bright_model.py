"""A model of a few lines, and an actor that gets it where CLIPSeg would be: the seam behind which models stand."""

from dataclasses import dataclass

import torch

from clipseg_ray.model import factory
from clipseg_ray.model.headroom import Headroom
from clipseg_ray.model.protocol import SegmentationModel
from clipseg_ray.pipeline.segmenter import Segmenter, SegmenterSpec


@dataclass
class Grey:
    """Images as Bright keeps them: mean brightness less 0.5, float32 [b, w, h]."""

    bright_bwh: torch.Tensor

    def __len__(self):
        return len(self.bright_bwh)

    def __getitem__(self, images):
        return Grey(self.bright_bwh[images])


class Bright(SegmentationModel):
    """Where the image is bright, whatever is asked: logits are brightness less a half. Prompts are conditionals."""

    def __init__(self, side, batch, decode_chunk):
        self.headroom, self.grid = Headroom(torch.device("cpu"), batch=batch, decode_chunk=decode_chunk), (side, side)

    def embed(self, conditionals_qc):
        return torch.as_tensor(conditionals_qc)

    def encode(self, pixels_bhwc):
        return Grey((pixels_bhwc.float().mean(3) / 255 - 0.5).transpose(1, 2))

    def joined(self, parts):
        return Grey(torch.cat([part.bright_bwh for part in parts]))

    def logits(self, features, rows):
        return features.bright_bwh[rows.image_index_p]


def make_bright(checkpoint, *, batch, decode_chunk, **_):
    """In the place of ``factory.make_model``."""
    return Bright(checkpoint.preprocessing.size, batch, decode_chunk)


class BrightSegmenter(Segmenter):
    """An actor of the job whose factory makes Bright."""

    def __init__(self, spec: SegmenterSpec) -> None:
        factory.make_model = make_bright
        super().__init__(spec)
