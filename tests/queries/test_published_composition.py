"""``published=1`` against the authors' composition, written anew in numpy from its description."""

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from clipseg_ray.queries.composition import compose
from clipseg_ray.queries.modes import MODES, parse_mode
from tests.queries.test_composition import (
    MEAN,
    PREPROCESSING,
    SIZE,
    STD,
    blended,
    normalised,
    random_mask,
    random_picture,
)


def nearest(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Each pixel that of the place ``floor(i · scale)``."""
    rows = (np.arange(height, dtype=np.float32) * np.float32(plane.shape[0] / height)).astype(int)
    columns = (np.arange(width, dtype=np.float32) * np.float32(plane.shape[1] / width)).astype(int)
    return plane[rows[:, None], columns]


def squashed(picture_hwc: np.ndarray, mask_hw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalised picture and mask at S×S."""
    small = np.asarray(Image.fromarray(picture_hwc).resize((SIZE, SIZE), resample=Image.Resampling.BILINEAR))
    return normalised(small), nearest(mask_hw, SIZE, SIZE)


def cut(pixels_hwc: np.ndarray, mask_hw: np.ndarray, context: float) -> np.ndarray:
    """The authors' ``object_crop``: box by the first and last marked row and column, or 0 and S where none is."""
    columns, rows = mask_hw.max(0), mask_hw.max(1)
    x0, x1 = int(columns.argmax()), SIZE - int(columns[::-1].argmax())
    y0, y1 = int(rows.argmax()), SIZE - int(rows[::-1].argmax())
    wide, high = x1 - x0, y1 - y0
    x0, x1 = int(max(0, x0 - context * wide)), int(min(SIZE, x1 + context * wide))
    y0, y1 = int(max(0, y0 - context * high)), int(min(SIZE, y1 + context * high))
    found = pixels_hwc[y0:y1, x0:x1]
    height, width = found.shape[:2]
    before, after = abs(height - width) // 2, abs(height - width) - abs(height - width) // 2
    padding = ((0, 0), (before, after)) if height > width else ((before, after), (0, 0))
    return nearest(np.pad(found, (*padding, (0, 0))), SIZE, SIZE)


def composed(picture_hwc: np.ndarray, mask_hw: np.ndarray, mode: str) -> np.ndarray:
    return compose(picture_hwc, mask_hw, parse_mode(mode), PREPROCESSING).transpose(1, 2, 0)


def tiny(height: int, width: int) -> np.ndarray:
    """One pixel, which no place of the squashed picture looks at where the picture is much larger."""
    mask_hw = np.zeros((height, width), bool)
    mask_hw[-1, -1] = True
    return mask_hw


SHAPES = pytest.mark.parametrize("shape", [(SIZE, SIZE), (130, 90), (31, 200), (20, 9)])
MASKS = pytest.mark.parametrize("mask", [random_mask, tiny])


@SHAPES
@MASKS
@pytest.mark.parametrize(
    ("mode", "background", "sigma", "less"),
    [
        ("overlay(published=1)", 0, 0, 0),
        ("overlay(background=0.1, sigma=3, published=1)", 0.1, 3, 0),
        ("highlight(published=1)", 0.15, 0, 0),
        ("blur_highlight(published=1)", 0.5, 1, 0.01),
        ("blur3_highlight(published=1)", 0.5, 3, 0.01),
        ("blur3_highlight01(published=1)", 0.1, 3, 0.01),
    ],
)
def test_blends(shape, mask, mode, background, sigma, less):
    picture_hwc, mask_hw = random_picture(*shape), mask(*shape)
    expected = blended(*squashed(picture_hwc, mask_hw), background, sigma) - less
    np.testing.assert_allclose(composed(picture_hwc, mask_hw, mode), expected, rtol=0, atol=1e-5)


@SHAPES
@MASKS
@pytest.mark.parametrize(
    ("mode", "background", "sigma", "context"),
    [
        ("crop(published=1)", 1.0, 1, 0.1),
        ("crop(context=0.5, published=1)", 1.0, 1, 0.5),
        ("crop_blur_highlight(published=1)", 0.1, 3, 0.1),
        ("crop_blur_highlight(background=0, context=0, published=1)", 0, 3, 0),
    ],
)
def test_crops(shape, mask, mode, background, sigma, context):
    picture_hwc, mask_hw = random_picture(*shape), mask(*shape)
    pixels_hwc, small_hw = squashed(picture_hwc, mask_hw)
    expected = cut(blended(pixels_hwc, small_hw, background, sigma), small_hw, context)
    np.testing.assert_allclose(composed(picture_hwc, mask_hw, mode), expected, rtol=0, atol=1e-5)


@SHAPES
def test_a_dyed_object(shape):
    picture_hwc, mask_hw = random_picture(*shape), random_mask(*shape)
    pixels_hwc, small_hw = squashed(picture_hwc, mask_hw)
    grey_hw1 = ((pixels_hwc * STD + MEAN).clip(0, 1) @ np.array([0.299, 0.587, 0.114]))[..., None]
    expected = (grey_hw1 * np.where(small_hw[..., None], np.array([1, 0.2, 0.2]), 1.0) - MEAN) / STD
    np.testing.assert_allclose(composed(picture_hwc, mask_hw, "colourised(published=1)"), expected, rtol=0, atol=1e-5)


def ring(height: int, width: int) -> np.ndarray:
    """A ring with an island in its hole, and a corner of the picture."""
    y, x = np.mgrid[:height, :width]
    distance_hw = np.hypot(y - height / 2, x - width / 3)
    return (distance_hw < 3) | ((distance_hw > 9) & (distance_hw < 20)) | (y - x > height - 12)


OPENCV = {
    random_mask: "lc0h0f04N0O2O000000AFH::DF<;CE=;CE>;AE?;AEa09_OGj00VO0j00VO0j00VO0j00VO0j00VO0j0;0000001N102Lj<",
    ring: "8X17100O1OnNb0I[O83Nf02YOOf02ZOMg03XOMj02VONj02UONm01SOOm01SOOm01SOOm01SOOm00TO0l00TO0l00TO0l00TO0l00TO0l00"
    "TO0l00TO0l00TO0l00UO0i00XO0h00YO0e00\\O1b00_OOa00@1>0C190I050L2001f02N3L3N3L4L4LP=",
}
"""What ``drawContours`` of OpenCV 5.0 draws with thickness 5 of the external contours at 48×48, as COCO RLE."""


@pytest.mark.parametrize("mask", OPENCV)
def test_a_red_outline(mask):
    picture_hwc = random_picture(SIZE, SIZE)
    line_hw = coco.decode({"size": [SIZE, SIZE], "counts": OPENCV[mask]}) > 0
    expected = normalised(np.where(line_hw[..., None], np.array([255, 0, 0]), picture_hwc))
    found = composed(picture_hwc, mask(SIZE, SIZE), "outline_red(published=1)")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    untouched = composed(picture_hwc, np.zeros((SIZE, SIZE), bool), "outline_red(published=1)")
    np.testing.assert_allclose(untouched, normalised(picture_hwc), rtol=0, atol=1e-5)


def test_a_square_picture_of_the_models_size_differs_from_ours_as_well():
    picture_hwc, mask_hw = random_picture(SIZE, SIZE), random_mask(SIZE, SIZE)
    for mode in ("crop", "crop_blur_highlight", "blur_highlight"):
        ours, theirs = (composed(picture_hwc, mask_hw, f"{mode}({how})") for how in ("published=0", "published=1"))
        assert np.abs(ours - theirs).max() > 5e-3


def test_the_switch_is_named_only_where_it_is_on():
    plain = parse_mode("crop_blur_highlight")
    assert parse_mode("crop_blur_highlight(published=0)") == plain
    assert "published" not in str(plain)
    switched = parse_mode("crop_blur_highlight(published=1)")
    assert str(switched) == "crop_blur_highlight(background=0.1, context=0.1, published=1.0, sigma=3.0)"
    assert parse_mode(str(switched)) == switched
    with pytest.raises(ValueError, match=r"published=0.5 is neither 0 nor 1"):
        parse_mode("crop(published=0.5)")
    with pytest.raises(ValueError, match="mode outline_red: with published=1 width is 5"):
        parse_mode("outline_red(width=3, published=1)")
    for name, entry in MODES.items():
        if not entry.published:
            with pytest.raises(ValueError, match=f"mode {name} has no parameter 'published'"):
                parse_mode(f"{name}(published=1)")
