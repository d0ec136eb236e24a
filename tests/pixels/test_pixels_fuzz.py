"""Damaged encodings: only `ImageError` ever comes out, and both modes say the same."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipseg_ray.pixels.decode import DecodedImage, ImageError, decode

# pytest puts its own warning filters before those of the decoder.
pytestmark = [pytest.mark.filterwarnings("ignore:::PIL")]

EDIT = st.tuples(
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(["set", "insert", "delete", "repeat", "cut"]),
    st.binary(min_size=1, max_size=12),
)


def damaged(data: bytes, edits: list[tuple[float, str, bytes]]) -> bytes:
    for where, kind, piece in edits:
        at = int(where**2 * len(data))  # squared: headers are where decoders trip
        after = {
            "set": piece + data[at + len(piece) :],
            "insert": piece + data[at:],
            "delete": data[at + len(piece) :],
            "repeat": data[max(0, at - 40) :],
            "cut": b"",
        }[kind]
        data = data[:at] + after
    return data


def verdict(data, preprocessing, mode) -> DecodedImage | ImageError:
    try:
        return decode(data, preprocessing, mode)
    except ImageError as error:
        return error


def assert_same_verdict(data, preprocessing):
    exact = verdict(data, preprocessing, "exact")
    fast = verdict(data, preprocessing, "fast")
    if isinstance(exact, ImageError):
        assert isinstance(fast, ImageError)
        assert (fast.status, fast.message) == (exact.status, exact.message)
    else:
        assert isinstance(fast, DecodedImage)
        assert (fast.width, fast.height, fast.orientation) == (exact.width, exact.height, exact.orientation)
        assert np.abs(fast.pixels_hwc.astype(int) - exact.pixels_hwc).max() <= 1


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_pictures(encodings, preprocessing, data):
    name = data.draw(st.sampled_from(sorted(encodings)))
    edits = data.draw(st.lists(EDIT, min_size=1, max_size=4))
    assert_same_verdict(damaged(encodings[name], edits), preprocessing)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x20\0\0\0WEBPVP8X"]),
    rest=st.binary(),
)
def test_arbitrary_bytes(preprocessing, start, rest):
    assert_same_verdict(start + rest, preprocessing)
