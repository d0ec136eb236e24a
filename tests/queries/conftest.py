import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory):
    """A loaded seeded checkpoint of 64 pixels a side."""
    from benchmarks.random_checkpoint import write_checkpoint
    from clipseg_ray.model.checkpoint import load

    directory = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(directory, image_size=64)
    return load(str(directory))


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """cup.png and other.png (40 wide, 30 high), and cup-mask.png, which marks 12×10 pixels from (8, 6)."""
    _write_picture(tmp_path / "cup.png", 30, 40, seed=1)
    _write_picture(tmp_path / "other.png", 30, 40, seed=2)
    mask_hw = np.zeros((30, 40), np.uint8)
    mask_hw[6:16, 8:20] = 255
    Image.fromarray(mask_hw).save(tmp_path / "cup-mask.png")
    return tmp_path


def _write_picture(path: Path, height: int, width: int, seed: int) -> None:
    pixels_hwc = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels_hwc).save(data, "PNG")
    path.write_bytes(data.getvalue())
