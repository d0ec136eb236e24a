"""Images through the model, a batch at a time, the next batch on its way while one is worked on."""

from collections.abc import Iterator

import torch

from clipseg_ray.model.protocol import Array, Features, SegmentationModel
from clipseg_ray.model.transfer import Link, Upload


class Encoding:
    """Pixels → features, at most ``headroom.batch`` images at a time."""

    def __init__(self, model: SegmentationModel, link: Link) -> None:
        self._model, self._link, self._headroom = model, link, model.headroom

    def features(self, images: Array | Features) -> Iterator[Features]:
        """Of uint8 pixels [b, S, S, 3]; features are only cut into batches. Valid for good."""
        start = 0
        if not isinstance(images, Array):
            while start < len(images):
                stop = start + self._headroom.batch  # which may shrink from one to the next
                yield images[start:stop]
                start = stop
            return
        pixels_bhwc = torch.as_tensor(images)
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
        return self._model.encode(pixels_bhwc[:count])
