"""Images through the encoder, a batch at a time, the next batch on its way while one is worked on."""

from collections.abc import Iterator

import numpy as np
import torch

from clipseg_ray.model.encoder import Encoder, Features
from clipseg_ray.model.headroom import Headroom
from clipseg_ray.model.program import Program, padded
from clipseg_ray.model.transfer import Link, Upload

Array = np.ndarray | torch.Tensor


class Encoding:
    """Pixels → features, at most ``headroom.batch`` images at a time."""

    def __init__(self, encoder: Encoder, link: Link, headroom: Headroom, compile: bool) -> None:
        self._side, self._link, self._headroom = encoder.side, link, headroom
        self._program = Program(encoder, link.device, compile)
        headroom.programs.append(self._program)

    def features(self, images: Array | Features) -> Iterator[Features]:
        """Of uint8 pixels [b, S, S, 3]; features are only cut into batches. Valid for good."""
        start = 0
        if isinstance(images, Features):
            while start < len(images):
                stop = start + self._headroom.batch  # which may shrink from one to the next
                yield images[start:stop]
                start = stop
            return
        pixels_bhwc = torch.as_tensor(images)
        if pixels_bhwc.dtype != torch.uint8 or pixels_bhwc.shape[1:] != (self._side, self._side, 3):
            raise ValueError(
                f"pixels must be uint8 [b, {self._side}, {self._side}, 3], not {pixels_bhwc.dtype} "
                f"{list(pixels_bhwc.shape)}"
            )
        upload: Upload | None = None
        while start < len(pixels_bhwc):
            count = min(self._headroom.batch, len(pixels_bhwc) - start)
            following = None
            try:
                with torch.no_grad():
                    if upload is None:
                        upload = self._upload(pixels_bhwc, start)
                    features = self._encode(upload, count)
                    if start + count < len(pixels_bhwc):
                        following = self._upload(pixels_bhwc, start + count)
            except RuntimeError as error:
                upload = None
                self._headroom.fewer_images(error)
                continue
            upload = following
            start += count
            yield features

    def _upload(self, pixels_bhwc: torch.Tensor, start: int) -> Upload:
        return self._link.upload(pixels_bhwc[start : start + self._headroom.batch])

    def _encode(self, upload: Upload, count: int) -> Features:
        (pixels_bhwc,) = upload.take()
        pixels_bhwc = pixels_bhwc[:count].contiguous()  # strides are part of a compiled shape
        if self._program.static:
            pixels_bhwc = padded(pixels_bhwc, self._headroom.batch)
        taps_kbtd, *embedding_bc = self._program(pixels_bhwc)
        if self._link.cuda:  # the next run writes over them
            taps_kbtd, *embedding_bc = taps_kbtd.clone(), *(found.clone() for found in embedding_bc)
        return Features(taps_kbtd[:, :count], embedding_bc[0][:count] if embedding_bc else None)
