"""How images are cut, and what the reader hands on of them."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipseg_ray.pixels.decode import decode
from clipseg_ray.pixels.preprocessing import Preprocessing
from clipseg_ray.pixels.viewed_images import Gathering
from clipseg_ray.pixels.views import AUTO_TILES, Views, side_of

SIZE = 32
PREPROCESSING = Preprocessing(size=SIZE, resample=2, rescale=1 / 255, mean=(0.5,) * 3, std=(0.5,) * 3)


def _views(tiles, overlap=0.5, whole=True):
    return Views(tiles=tiles, overlap=overlap, whole=whole)


@pytest.mark.parametrize(("tiles", "cost"), [(1, (1, 1)), (2, (10, 10)), (3, (26, 26)), (4, (50, 50))])
def test_what_the_tiles_cost(tiles, cost):
    assert _views(tiles).passes(tiles) == cost
    assert _views(4, whole=False).passes(tiles) == (cost[0], max(1, cost[1] - 1))
    if tiles > 1:
        assert f"{cost[0]} encodes and {cost[1]} decodes an image" in _views(tiles).words()


def test_every_size_has_its_cost_in_words():
    assert _views("auto").words() == (
        "tiles auto: 26 encodes and 26 decodes an image; 10 encodes and 10 decodes where its pixels suffice for 2 "
        "only, 1 and 1 where they suffice for no tiles"
    )


@given(
    tiles=st.sampled_from(["auto", 1, 2, 3, 4]),
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    size=st.integers(16, 512),
)
def test_no_image_is_enlarged_and_the_most_tiles_that_fit_are_taken(tiles, width, height, size):
    views = _views(tiles)
    found = views.tiles_of(width, height, size)
    most = AUTO_TILES if tiles == "auto" else tiles
    fitting = [each for each in range(1, most + 1) if (each * size) ** 2 <= width * height]
    assert found == max(fitting, default=1)
    assert side_of(views, width, height, size) == found * size


def test_an_image_of_five_hundred_pixels_is_not_cut_for_a_model_of_352():
    assert _views(4).tiles_of(500, 500, 352) == 1
    assert _views(4).tiles_of(704, 704, 352) == 2
    assert _views("auto").tiles_of(6000, 4000, 352) == 3


@given(tiles=st.integers(2, 4), overlap=st.floats(0, 0.75), size=st.integers(16, 512))
def test_windows_cover_every_pixel_and_overlap_as_much_as_asked(tiles, overlap, size):
    starts = _views(tiles, overlap).starts(tiles, size)
    assert starts[0] == 0
    assert starts[-1] == (tiles - 1) * size
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (steps <= np.ceil(size * (1 - overlap) + 1e-3)).all()
    assert steps.max() - steps.min() <= 1
    assert len(starts) ** 2 == _views(tiles, overlap, whole=False).passes(tiles)[1]


@pytest.mark.parametrize("tiles", ["auto", 2, 4])
def test_the_record_holds_all_of_it(tiles):
    views = _views(tiles, overlap=0.25, whole=False)
    assert Views.from_record(views.recorded()) == views
    assert views.recorded()["most"] == views.most
    assert Views.from_record(None) is None


def _encoded(kind, width, height, orientation=1):
    pixels = np.random.default_rng(width).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    exif = image.getexif()
    exif[0x0112] = orientation
    sink = io.BytesIO()
    image.save(sink, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    return sink.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", ["fast", "exact"])
@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_both_sizes_come_of_the_image_itself(kind, mode, orientation):
    data = _encoded(kind, 90, 70, orientation)
    views = _views("auto")
    found, plain = decode(data, PREPROCESSING, mode, views), decode(data, PREPROCESSING, mode)
    np.testing.assert_array_equal(found.pixels_hwc, plain.pixels_hwc)
    assert plain.large_hwc is None
    assert (found.width, found.height) == ((90, 70) if orientation == 1 else (70, 90))
    larger = Preprocessing(**{**vars(PREPROCESSING), "size": 2 * SIZE})
    np.testing.assert_array_equal(found.large_hwc, decode(data, larger, mode).pixels_hwc)


def test_small_images_have_nothing_larger():
    assert decode(_encoded("PNG", 60, 60), PREPROCESSING, views=_views("auto")).large_hwc is None


def test_ragged_images_are_found_again_and_slices_are_those_images():
    views = _views("auto")
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)
    large = [
        None if tiles == 1 else rng.integers(0, 256, (tiles * SIZE, tiles * SIZE, 3), np.uint8)
        for tiles in (1, 3, 2, 1, 2)
    ]
    gathering = Gathering(7, SIZE, views)
    for own, larger in zip(whole, large, strict=True):
        gathering.add(own, larger)
    images = gathering.done()
    assert images.tiles_b.tolist() == [1, 3, 2, 1, 2]
    assert images.nbytes == 3 * SIZE**2 * (5 + 9 + 4 + 4)
    for first in range(5):
        for stop in range(first, 6):
            part = images[first:stop]
            assert len(part) == len(range(first, min(stop, 5)))
            for number in range(len(part)):
                expected = whole[first + number] if large[first + number] is None else large[first + number]
                np.testing.assert_array_equal(part.finest(number), expected)
                np.testing.assert_array_equal(part.whole_bhwc[number], whole[first + number])
