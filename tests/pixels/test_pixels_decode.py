import dataclasses
import io
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from transformers.image_utils import load_image
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from clipseg_ray.pixels import kinds
from clipseg_ray.pixels.decode import DecodedImage, ImageError, decode
from clipseg_ray.pixels.opening import MAX_PIXELS

# pytest puts its own warning filters before those of the decoder.
pytestmark = [pytest.mark.filterwarnings("ignore:::PIL")]

MODES = ("fast", "exact")


def reference(data, preprocessing):
    """The upright image as transformers loads it, and what its PIL processor makes of it before rescaling."""
    image = load_image(Image.open(io.BytesIO(data)))
    side = {"height": preprocessing.size, "width": preprocessing.size}
    processor = ViTImageProcessorPil(size=side, resample=preprocessing.resample, do_rescale=False, do_normalize=False)
    return image, np.asarray(processor(image)["pixel_values"][0]).transpose(1, 2, 0)


def levels_off(decoded: DecodedImage, expected_hwc: np.ndarray) -> int:
    assert decoded.pixels_hwc.dtype == np.uint8
    assert decoded.pixels_hwc.flags.c_contiguous
    assert decoded.pixels_hwc.shape == expected_hwc.shape
    return int(np.abs(decoded.pixels_hwc.astype(int) - expected_hwc).max())


def verdict(data, preprocessing, mode):
    with pytest.raises(ImageError) as caught:
        decode(data, preprocessing, mode)
    return caught.value


@pytest.mark.parametrize("mode", MODES)
def test_every_flavour_as_transformers_reads_it(encoding, preprocessing, mode):
    image, expected_hwc = reference(encoding, preprocessing)
    decoded = decode(encoding, preprocessing, mode)
    assert levels_off(decoded, expected_hwc) <= (mode == "fast")
    assert (decoded.width, decoded.height, decoded.orientation) == (image.width, image.height, 1)


@pytest.mark.parametrize(
    "size", [(20, 30), (30, 20), (64, 64), (64, 40), (200, 100), (200, 150), (150, 200), (100, 200), (300, 300), (1, 9)]
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_fast_stays_within_a_level_of_exact_at_every_shape(make, preprocessing, size, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise_hwc = np.random.default_rng(0).integers(0, 2, (*size, 3), np.uint8) * 255
    data = make.encode(noise_hwc, "JPEG", quality=100, subsampling="4:4:4", exif=exif)
    preprocessing = dataclasses.replace(preprocessing, size=64)
    _, expected_hwc = reference(data, preprocessing) if min(size) > 3 else (None, None)
    exact = decode(data, preprocessing, "exact")
    fast = decode(data, preprocessing, "fast")
    if expected_hwc is not None:  # transformers takes an image of one row for channels
        assert levels_off(exact, expected_hwc) == 0
    assert levels_off(fast, exact.pixels_hwc) <= 1
    # The passes run in Pillow's order: the wrong one would be off in a fifth of all values.
    assert np.mean(fast.pixels_hwc != exact.pixels_hwc) < 0.05


@pytest.mark.parametrize("resample", range(6))
@pytest.mark.parametrize("mode", MODES)
def test_every_resampling_filter(encodings, preprocessing, resample, mode):
    preprocessing = dataclasses.replace(preprocessing, resample=resample)
    _, expected_hwc = reference(encodings["jpeg 4:2:0"], preprocessing)
    assert levels_off(decode(encodings["jpeg 4:2:0"], preprocessing, mode), expected_hwc) <= (mode == "fast")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(make, preprocessing, orientation, image_format, mode):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = make.encode(make.picture_hwc(50, 90), image_format, exif=exif)
    _, expected_hwc = reference(data, preprocessing)
    decoded = decode(data, preprocessing, mode)
    assert levels_off(decoded, expected_hwc) <= (mode == "fast")
    assert decoded.orientation == orientation
    assert (decoded.width, decoded.height) == ((90, 50) if orientation <= 4 else (50, 90))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_as_it_is_loaded(make, preprocessing, orientation, mode):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = make.encode(make.picture_hwc(50, 90), "TIFF", exif=exif)
    _, expected_hwc = reference(data, preprocessing)
    decoded = decode(data, preprocessing, mode)
    assert levels_off(decoded, expected_hwc) == 0
    assert (decoded.width, decoded.height) == ((90, 50) if orientation <= 4 else (50, 90))


@pytest.mark.parametrize("mode", MODES)
def test_orientation_from_xmp(make, preprocessing, mode):
    data = make.encode(make.picture_hwc(50, 90), "JPEG", xmp=b'<x tiff:Orientation="8"/>')
    _, expected_hwc = reference(data, preprocessing)
    decoded = decode(data, preprocessing, mode)
    assert decoded.orientation == 8
    assert levels_off(decoded, expected_hwc) <= 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientation_without_meaning_counts_as_none(make, preprocessing, value, mode):
    exif = Image.Exif()
    exif[0x0112] = value
    decoded = decode(make.encode(make.picture_hwc(50, 90), "JPEG", exif=exif), preprocessing, mode)
    assert (decoded.orientation, decoded.width, decoded.height) == (1, 90, 50)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_a_broken_exif_block_does_not_cost_the_picture(make, preprocessing, image_format, mode):
    data = make.encode(make.picture_hwc(50, 90), image_format, exif=b"Exif\0\0nonsense, not a TIFF header")
    assert decode(data, preprocessing, mode).orientation == 1


@pytest.mark.parametrize("mode", MODES)
def test_16_bit_grey_is_scaled_as_16_bit_rgb_is(make, preprocessing, mode):
    grey = (make.picture_hwc(40, 30)[..., :1].astype(np.uint16) << 8) + 77
    as_rgb = decode(make.png16(np.repeat(grey, 3, axis=2), 2), preprocessing, mode)
    as_grey = decode(make.png16(grey, 0), preprocessing, mode)
    assert as_grey.pixels_hwc.std() > 20
    np.testing.assert_array_equal(as_grey.pixels_hwc, as_rgb.pixels_hwc)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_tiffs_are_scaled_whatever_their_byte_order(make, preprocessing, order, mode):
    grey = (make.picture_hwc(40, 30)[..., 0].astype(np.uint16) << 8) + 77
    data = tiff(grey, order)
    assert Image.open(io.BytesIO(data)).mode.startswith("I;16")
    expected = decode(make.png16(grey[..., None], 0), preprocessing, mode)
    np.testing.assert_array_equal(decode(data, preprocessing, mode).pixels_hwc, expected.pixels_hwc)


def tiff(grey_hw, order, **tags):
    """A TIFF of one strip of greyscale, uint16 or float32, in either byte order."""
    height, width = grey_hw.shape
    bits, kind = 8 * grey_hw.itemsize, 3 if grey_hw.dtype.kind == "f" else 1
    values = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: grey_hw.nbytes}
    values |= {339: kind} | {int(tag): value for tag, value in tags.items()}
    pixels = grey_hw.astype(grey_hw.dtype.newbyteorder(order)).tobytes()
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(pixels))
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in sorted(values.items()))
    return head + pixels + struct.pack(order + "H", len(values)) + entries + bytes(4)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_pixels_of_32_bits_are_refused_and_not_clipped(make, preprocessing, order, mode):
    depth_hw = make.picture_hwc(20, 30)[..., 0].astype(np.float32) / 255
    error = verdict(tiff(depth_hw, order), preprocessing, mode)
    assert (error.status, error.message) == (
        "undecodable",
        "its pixels are numbers of 32 bits, of no known range; convert them to 8 bits",
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tags", [{"50706": 1}, {"254": 1}])
def test_a_raw_files_preview_is_not_taken_for_it(make, preprocessing, tags, mode):
    data = tiff(make.picture_hwc(20, 30)[..., 0].astype(np.uint16), "<", **tags)
    error = verdict(data, preprocessing, mode)
    assert (error.status, "camera's raw file" in error.message) == ("undecodable", True)


@pytest.mark.parametrize("mode", MODES)
def test_heic_is_read_where_its_library_is(make, preprocessing, mode):
    heif = pytest.importorskip("pillow_heif")
    rgb = make.picture_hwc(48, 64)
    sink = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    heif.from_pillow(Image.fromarray(rgb)).save(sink, quality=-1, exif=exif.tobytes(), format="HEIF")
    decoded = decode(sink.getvalue(), preprocessing, mode)
    upright = Image.fromarray(rgb).transpose(Image.Transpose.ROTATE_270)
    assert (decoded.width, decoded.height) == (48, 64)
    expected_hwc = np.asarray(upright.resize((32, 32), resample=2))
    assert np.abs(decoded.pixels_hwc.astype(int) - expected_hwc).mean() < 4


@pytest.mark.parametrize("mode", MODES)
def test_heic_without_its_library_says_what_reads_it(preprocessing, mode, monkeypatch):
    monkeypatch.setattr(kinds.Kind, "is_read", property(lambda kind: kind is not kinds.HEIF))
    error = verdict(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"x" * 200, preprocessing, mode)
    assert error.status == "undecodable"
    assert error.message.endswith(f"it is a HEIC image ({kinds.HEIF_HINT})")


@pytest.mark.parametrize("mode", MODES)
def test_no_bytes(preprocessing, mode):
    assert verdict(b"", preprocessing, mode).status == "empty"


@pytest.mark.parametrize("mode", MODES)
def test_text_named_jpg(preprocessing, mode):
    error = verdict(b"<html>404 not found</html>", preprocessing, mode)
    assert error.status == "undecodable"
    assert error.message == "no JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF image: it is HTML, XML or SVG text"
    assert error.message == str(error)


@pytest.mark.parametrize("mode", MODES)
def test_a_header_that_is_broken_is_damage_and_no_other_format(make, preprocessing, mode):
    broken = {kind: bytearray(make.encode(make.picture_hwc(40, 30), kind)) for kind in ("PNG", "JPEG", "GIF")}
    broken["PNG"][29] ^= 1  # the checksum of its first chunk
    broken["JPEG"][3:] = bytes(50)
    del broken["GIF"][9:]
    for kind, data in broken.items():
        error = verdict(bytes(data), preprocessing, mode)
        assert (error.status, error.message) == (
            "undecodable",
            f"damaged {kind} image: its header is broken or cut",
        )


@pytest.mark.parametrize("mode", MODES)
def test_cut_in_the_middle(encoding, preprocessing, mode):
    first_picture_ends = encoding.find(b"\xff\xd9") if encoding.startswith(b"\xff\xd8") else len(encoding) // 2
    error = verdict(encoding[: min(first_picture_ends, len(encoding)) // 2], preprocessing, mode)
    assert error.status == "undecodable"
    assert "\n" not in error.message
    assert len(error.message) > len("damaged picture: ")


@pytest.mark.parametrize("mode", MODES)
def test_a_cut_never_changes_pixels_silently(encoding, preprocessing, mode):
    whole_hwc = decode(encoding, preprocessing, mode).pixels_hwc
    for length in range(1, len(encoding), max(1, len(encoding) // 60)):
        try:
            decoded = decode(encoding[:length], preprocessing, mode)
        except ImageError:
            continue
        assert levels_off(decoded, whole_hwc) <= (mode == "fast")


def giants(make) -> dict[str, bytes]:
    """Headers that declare more than `MAX_PIXELS` in front of a few bytes of pixels."""
    jpeg = make.encode(make.picture_hwc(16, 16), "JPEG")
    start = jpeg.index(b"\xff\xc0") + 5
    gif = make.encode(Image.new("P", (16, 16)), "GIF")
    frame = gif.index(b"\x2c\0\0\0\0") + 5
    vp8x = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + b"\xff\x7f\0" * 2
    return {
        "png": make.png(20_000, 20_000, 8, 2, b"\0" * 100),
        "png just over": make.png(MAX_PIXELS + 1, 1, 8, 2, b"\0" * 100),
        "jpeg": jpeg[:start] + b"\xff\xff\xff\xff" + jpeg[start + 4 :],
        "gif screen": gif[:6] + b"\xff\xff\xff\xff" + gif[10:],
        "gif frame": gif[:frame] + b"\xff\xff\xff\xff" + gif[frame + 4 :],
        "webp": b"RIFF" + struct.pack("<I", 4 + len(vp8x)) + b"WEBP" + vp8x,
    }


@pytest.mark.parametrize("mode", MODES)
def test_declared_giants(make, preprocessing, mode):
    for name, data in giants(make).items():
        assert verdict(data, preprocessing, mode).status == "too_large", name


def test_exactly_the_limit_is_not_too_large(make, preprocessing):
    line = make.png(MAX_PIXELS, 1, 1, 0, b"\0" * 100)
    assert verdict(line, preprocessing, "exact").status == "undecodable"


IN_LITTLE_MEMORY = """
import pickle, resource, sys
from clipseg_ray.pixels.decode import ImageError, decode
preprocessing, datas = pickle.load(sys.stdin.buffer)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20),) * 2)
for data in datas:
    for mode in ("fast", "exact"):
        try:
            decode(data, preprocessing, mode)
        except ImageError as error:
            assert error.status == "too_large", error
        else:
            raise AssertionError("decoded")
"""

SILENTLY = """
import pickle, sys
from clipseg_ray.pixels.decode import ImageError, decode
preprocessing, datas = pickle.load(sys.stdin.buffer)
for data in datas:
    for mode in ("fast", "exact"):
        for cut in (data, data[: len(data) // 2]):
            try:
                decode(cut, preprocessing, mode)
            except ImageError:
                pass
"""


def run(code, preprocessing, datas):
    return subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps((preprocessing, list(datas))),
        capture_output=True,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and limits the address space")
def test_giants_are_refused_before_their_pixels_are_allocated(make, preprocessing):
    done = run(IN_LITTLE_MEMORY, preprocessing, giants(make).values())
    assert done.returncode == 0, done.stderr.decode()


def test_nothing_is_printed(make, encodings, preprocessing):
    scruffy = make.encode(make.picture_hwc(20, 20), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x0f\x01cut")
    large = make.png(10_000, 10_000, 1, 0, b"\0" * 100)
    done = run(SILENTLY, preprocessing, [*encodings.values(), scruffy, large])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
