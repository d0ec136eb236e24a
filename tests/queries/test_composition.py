"""Composition against a reference in plain numpy, written from the definitions and nothing else."""

import subprocess
import sys

import numpy as np
import pytest

from clipseg_ray.pixels.preprocessing import Preprocessing
from clipseg_ray.queries.canvas import widened_box
from clipseg_ray.queries.composition import compose
from clipseg_ray.queries.modes import MODES, parse_mode

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SIZE = 48
PREPROCESSING = Preprocessing(size=SIZE, resample=2, rescale=1 / 255, mean=tuple(MEAN), std=tuple(STD))


def random_picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)


def random_mask(height: int, width: int) -> np.ndarray:
    """An L with a hole, so that box, border and inside differ."""
    mask_hw = np.zeros((height, width), bool)
    mask_hw[height // 4 : height // 4 * 3, width // 3 : width // 2] = True
    mask_hw[height // 2 : height // 4 * 3, width // 3 : width // 4 * 3] = True
    mask_hw[height // 8 * 5, width // 2] = False
    return mask_hw


def normalised(picture_hwc: np.ndarray) -> np.ndarray:
    return (picture_hwc / 255 - MEAN) / STD


def blurred(pixels_hwc: np.ndarray, sigma: float) -> np.ndarray:
    """Every pixel as the weighted mean of the 15×15 around it, the picture mirrored at its outermost pixels."""
    height, width, _ = pixels_hwc.shape
    weights = {(dy, dx): np.exp(-(dy**2 + dx**2) / (2 * sigma**2)) for dy in range(-7, 8) for dx in range(-7, 8)}
    total = sum(weights.values())
    mirror = lambda index, length: (length - 1) - abs((length - 1) - abs(index))  # noqa: E731
    out = np.zeros_like(pixels_hwc)
    for (dy, dx), weight in weights.items():
        rows = [mirror(y + dy, height) for y in range(height)]
        columns = [mirror(x + dx, width) for x in range(width)]
        out += weight / total * pixels_hwc[np.ix_(rows, columns)]
    return out


def blended(pixels_hwc: np.ndarray, mask_hw: np.ndarray, background: float, sigma: float) -> np.ndarray:
    m = mask_hw[..., None].astype(float)
    return pixels_hwc * m + background * (blurred(pixels_hwc, sigma) if sigma else pixels_hwc) * (1 - m)


def upscaled(square_hwc: np.ndarray, size: int) -> np.ndarray:
    """Bilinear, pixel centres at halves, for enlarging only."""
    side = len(square_hwc)
    assert side <= size
    centres = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    low = np.floor(centres).astype(int)
    high, share = np.minimum(low + 1, side - 1), centres - low
    rows = square_hwc[low] * (1 - share)[:, None, None] + square_hwc[high] * share[:, None, None]
    return rows[:, low] * (1 - share)[None, :, None] + rows[:, high] * share[None, :, None]


def cropped(pixels_hwc: np.ndarray, mask_hw: np.ndarray, context: float, size: int) -> np.ndarray:
    height, width = mask_hw.shape
    ys, xs = np.nonzero(mask_hw)
    y0, y1, x0, x1 = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
    dy, dx = context * (y1 - y0), context * (x1 - x0)
    y0, x0 = int(max(0, y0 - dy)), int(max(0, x0 - dx))
    y1, x1 = int(min(height, y1 + dy)), int(min(width, x1 + dx))
    side = max(y1 - y0, x1 - x0)
    square = np.zeros((side, side, 3))
    top, left = (side - (y1 - y0)) // 2, (side - (x1 - x0)) // 2
    square[top : top + y1 - y0, left : left + x1 - x0] = pixels_hwc[y0:y1, x0:x1]
    return upscaled(square, size)


def composed(picture_hwc, mask_hw, mode: str) -> np.ndarray:
    return compose(picture_hwc, mask_hw, parse_mode(mode), PREPROCESSING).transpose(1, 2, 0)


@pytest.mark.parametrize(
    ("mode", "background", "sigma"),
    [
        ("overlay", 0, 0),
        ("blur_highlight", 0.5, 1),
        ("blur3_highlight", 0.5, 3),
        ("blur3_highlight01", 0.1, 3),
        ("blur_highlight(background=0.3, sigma=2.5)", 0.3, 2.5),
    ],
)
def test_blends(mode, background, sigma):
    picture_hwc, mask_hw = random_picture(SIZE, SIZE), random_mask(SIZE, SIZE)
    expected = blended(normalised(picture_hwc), mask_hw, background, sigma)
    np.testing.assert_allclose(composed(picture_hwc, mask_hw, mode), expected, atol=1e-5)


def test_highlight():
    picture_hwc, mask_hw = random_picture(SIZE, SIZE), random_mask(SIZE, SIZE)
    pixels_hwc = normalised(picture_hwc)
    expected = 0.85 * pixels_hwc * mask_hw[..., None] + 0.15 * pixels_hwc
    np.testing.assert_allclose(composed(picture_hwc, mask_hw, "highlight"), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "background", "sigma", "context"),
    [
        ("crop", 1.0, 1, 0.1),
        ("crop_blur_highlight", 0.1, 3, 0.1),
        ("crop_blur_highlight(context=0.5, background=0)", 0, 3, 0.5),
        ("crop(context=0)", 1.0, 1, 0),
        ("crop(context=10)", 1.0, 1, 10),
    ],
)
def test_crops(mode, background, sigma, context):
    picture_hwc, mask_hw = random_picture(SIZE, SIZE), random_mask(SIZE, SIZE)
    mask_hw[:, :20] = False  # higher than wide, so that there is something to pad
    pixels_hwc = blended(normalised(picture_hwc), mask_hw, background, sigma)
    expected = cropped(pixels_hwc, mask_hw, context, SIZE)
    np.testing.assert_allclose(composed(picture_hwc, mask_hw, mode), expected, atol=1e-5)


def test_a_crop_of_a_larger_picture_keeps_its_detail():
    """Only what is inside the mask counts here, so the reference needs no blur: a plain cut, enlarged."""
    picture_hwc = random_picture(150, 100)
    mask_hw = np.zeros((150, 100), bool)
    mask_hw[30:60, 40:70] = True
    expected = upscaled(normalised(picture_hwc)[30:60, 40:70], SIZE)
    np.testing.assert_allclose(composed(picture_hwc, mask_hw, "crop_blur_highlight(context=0)"), expected, atol=1e-5)


def test_the_box_is_clipped_at_the_picture():
    import torch

    mask_hw = torch.zeros(20, 30)
    mask_hw[0:10, 10:30] = 1
    assert widened_box(mask_hw, 0.25) == (5, 0, 30, 12)
    with pytest.raises(ValueError, match="the mask is empty"):
        widened_box(torch.zeros(4, 4), 0.1)


@pytest.mark.parametrize("width", [1, 4, 5])
def test_red_outline(width):
    picture_hwc, mask_hw = random_picture(SIZE, SIZE), random_mask(SIZE, SIZE)
    padded = np.pad(mask_hw, 1)
    line_hw = np.zeros((SIZE, SIZE), bool)
    before, after = (width - 1) // 2, width // 2
    for y, x in zip(*np.nonzero(mask_hw), strict=True):
        if not (padded[y, x + 1] and padded[y + 2, x + 1] and padded[y + 1, x] and padded[y + 1, x + 2]):
            line_hw[max(0, y - before) : y + after + 1, max(0, x - before) : x + after + 1] = True
    expected = normalised(np.where(line_hw[..., None], np.array([255, 0, 0]), picture_hwc))
    np.testing.assert_allclose(composed(picture_hwc, mask_hw, f"outline_red(width={width})"), expected, atol=1e-5)


def test_red_box():
    picture_hwc = random_picture(SIZE, SIZE)
    mask_hw = np.zeros((SIZE, SIZE), bool)
    mask_hw[10:30, 0:20] = True  # widened by 2 px: rows 8 to 32, columns 0 to 22
    distance_hw = np.full((SIZE, SIZE), 99)
    for y in range(SIZE):
        for x in range(SIZE):
            # how many pixels inside the widened box this pixel is: negative outside
            distance_hw[y, x] = min(y - 8, 31 - y, x - 0, 21 - x)
    line_hw = (distance_hw >= -2) & (distance_hw < 3)
    expected = normalised(np.where(line_hw[..., None], np.array([255, 0, 0]), picture_hwc))
    np.testing.assert_allclose(composed(picture_hwc, mask_hw, "box_red"), expected, atol=1e-5)


def test_colourised_and_greyscale():
    picture_hwc, mask_hw = random_picture(SIZE, SIZE), random_mask(SIZE, SIZE)
    grey_hw1 = (picture_hwc / 255 @ np.array([0.299, 0.587, 0.114]))[..., None]
    m = mask_hw[..., None]
    dyed = (grey_hw1 * np.where(m, np.array([1, 0.2, 0.2]), 1.0) - MEAN) / STD
    np.testing.assert_allclose(composed(picture_hwc, mask_hw, "colourised"), dyed, atol=1e-5)
    drained = np.where(m, normalised(picture_hwc), (grey_hw1 - MEAN) / STD)
    np.testing.assert_allclose(composed(picture_hwc, mask_hw, "greyscale"), drained, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(SIZE, SIZE), (300, 500), (20, 9)])
def test_any_picture_comes_out_at_the_models_size(mode, shape):
    mask_hw = np.zeros(shape, bool)
    mask_hw[-1, -1] = True  # a single pixel in the corner
    pixels_hwc = composed(random_picture(*shape), mask_hw, mode)
    assert pixels_hwc.shape == (SIZE, SIZE, 3)
    assert pixels_hwc.dtype == np.float32
    assert np.isfinite(pixels_hwc).all()
    assert np.abs(pixels_hwc).max() > 0, "a mask of one pixel must not be lost"


def test_whole_pictures_are_what_transformers_makes_of_them():
    from PIL import Image
    from transformers import ViTImageProcessorPil

    picture_hwc = random_picture(130, 90)
    processor = ViTImageProcessorPil(
        size={"height": SIZE, "width": SIZE}, image_mean=list(MEAN), image_std=list(STD), resample=2
    )
    expected = processor(Image.fromarray(picture_hwc), return_tensors="np")["pixel_values"][0]
    found = compose(picture_hwc, None, parse_mode("whole"), PREPROCESSING)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_mode_reads_what_it_writes():
    for name in MODES:
        assert parse_mode(str(parse_mode(name))) == parse_mode(name)
    assert dict(parse_mode("crop( context = 0.2 )").parameters)["context"] == 0.2


def test_an_unknown_mode_is_reported_with_the_nearest_and_all():
    with pytest.raises(ValueError, match=rf"^'crp' is no mode; did you mean 'crop'\? There are {', '.join(MODES)}$"):
        parse_mode("crp")
    with pytest.raises(ValueError, match=rf"^'startswith' is no mode; there are {', '.join(MODES)}$"):
        parse_mode("startswith")


def test_a_mode_that_needs_a_mask_says_so():
    picture_hwc = random_picture(SIZE, SIZE)
    for name, entry in MODES.items():
        if entry.needs_mask:
            with pytest.raises(ValueError, match=f"mode {name} needs a mask"):
                composed(picture_hwc, None, name)
        else:
            np.testing.assert_array_equal(
                composed(picture_hwc, None, name), composed(picture_hwc, random_mask(SIZE, SIZE), name)
            )


def test_modes_are_read_without_torch():
    code = "import sys, clipseg_ray.queries.table; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
