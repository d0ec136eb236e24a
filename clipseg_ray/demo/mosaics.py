"""Several scenes in one image, side by side: things small against the whole, of which truth is known all the same."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from clipseg_ray.demo.scenes import SIDE, DrawnScene, Instance, scene, true_masks

_QUALITY = 92
"""Of the mosaic's own JPEG; the scenes in it went through one each."""


def mosaic(seed: int, across: int, side: int = SIDE, *, held_out_pairs: bool = False) -> DrawnScene:
    """``across`` × ``across`` scenes in one image of ``side`` × ``side`` pixels, a multiple of ``across``.

    Row by row they are the scenes of seeds ``seed · across²`` and on, so no two mosaics of one ``across`` share any.
    held_out_pairs: as in ``scene``, of each. Instances are those of all, truth is of the whole image.
    """
    if side % across:
        raise ValueError(f"a side of {side} cannot be shared by {across} scenes of one size")
    cell = side // across
    canvas_hwc = np.empty((side, side, 3), np.uint8)
    instances: list[Instance] = []
    grounds: list[str] = []
    for place in range(across**2):
        top, left = place // across * cell, place % across * cell
        shown = scene(seed * across**2 + place, cell, held_out_pairs=held_out_pairs)
        canvas_hwc[top : top + cell, left : left + cell] = shown.pixels_hwc
        instances += [_placed(one, top, left, side) for one in shown.instances]
        grounds.append(shown.ground)
    file = io.BytesIO()
    Image.fromarray(canvas_hwc).save(file, "JPEG", quality=_QUALITY)
    pixels_hwc = np.asarray(Image.open(io.BytesIO(file.getvalue())))
    return DrawnScene(
        pixels_hwc=pixels_hwc,
        jpeg=file.getvalue(),
        ground=", ".join(grounds),
        instances=tuple(instances),
        truth=tuple(true_masks(instances)),
    )


def _placed(one: Instance, top: int, left: int, side: int) -> Instance:
    def moved(mask_hw: np.ndarray) -> np.ndarray:
        height, width = mask_hw.shape
        whole_hw = np.zeros((side, side), np.bool_)
        whole_hw[top : top + height, left : left + width] = mask_hw
        return whole_hw

    return replace(one, mask_hw=moved(one.mask_hw), parts={name: moved(part) for name, part in one.parts.items()})
