"""Small real encodings of one image in every format and flavour the decoder is for."""

import io
import struct
import types
import zlib

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from clipseg_ray.pixels.preprocessing import Preprocessing


def picture_hwc(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Gradients with coarse and fine noise, so that neither direction nor channel can be swapped unseen."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (height + width)], -1)
    return np.clip(base + rng.normal(0, 25, base.shape), 0, 255).astype(np.uint8)


def encode(image: Image.Image | np.ndarray, image_format: str, **options: object) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG from raw filtered rows, for what Pillow does not write and for headers that lie."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png16(samples: np.ndarray, colour: int) -> bytes:
    """16-bit PNG of samples (h, w, channels); colour 0 grey, 2 RGB, 4 grey + alpha, 6 RGBA."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return png(samples.shape[1], samples.shape[0], 16, colour, rows)


def without_segment(jpeg: bytes, marker: int) -> bytes:
    """A JPEG without its first segment of this marker."""
    start = jpeg.index(bytes((0xFF, marker)))
    return jpeg[:start] + jpeg[start + 2 + int.from_bytes(jpeg[start + 2 : start + 4]) :]


def all_encodings() -> dict[str, bytes]:
    rgb = picture_hwc(47, 61)
    other = Image.fromarray(picture_hwc(47, 61, seed=1))
    image = Image.fromarray(rgb)
    alpha = Image.fromarray(np.dstack([rgb, picture_hwc(47, 61, seed=2)[..., :1]]))
    palette = image.quantize(40)
    wide = (picture_hwc(20, 31).astype(np.uint16) << 8) + np.arange(31, dtype=np.uint16)[:, None]
    cmyk = encode(image.convert("CMYK"), "JPEG")
    return {
        "jpeg 4:4:4": encode(image, "JPEG", subsampling="4:4:4", quality=95),
        "jpeg 4:2:2": encode(image, "JPEG", subsampling="4:2:2"),
        "jpeg 4:2:0": encode(image, "JPEG", subsampling="4:2:0"),
        "jpeg 4:4:0": simplejpeg.encode_jpeg(rgb, colorsubsampling="440"),
        "jpeg 4:1:1": simplejpeg.encode_jpeg(rgb, colorsubsampling="411"),
        "jpeg progressive": encode(image, "JPEG", progressive=True),
        "jpeg restart markers": encode(image, "JPEG", restart_marker_blocks=3),
        "jpeg without JFIF": without_segment(encode(image, "JPEG"), 0xE0),
        "jpeg stored as RGB": encode(image, "JPEG", keep_rgb=True),
        "jpeg grey": encode(image.convert("L"), "JPEG"),
        "jpeg CMYK Adobe": cmyk,
        "jpeg CMYK plain": without_segment(cmyk, 0xEE),
        "jpeg several pictures": encode(image, "MPO", save_all=True, append_images=[other]),
        "jpeg trailing bytes": encode(image, "JPEG") + b"\0" * 50,
        "png RGB": encode(image, "PNG"),
        "png RGBA": encode(alpha, "PNG"),
        "png grey": encode(image.convert("L"), "PNG"),
        "png grey alpha": encode(alpha.convert("LA"), "PNG"),
        "png 1 bit": encode(image.convert("1"), "PNG"),
        "png palette": encode(palette, "PNG"),
        "png palette one transparent": encode(palette, "PNG", transparency=3),
        "png palette alpha": encode(palette, "PNG", transparency=bytes(range(0, 200, 5))),
        "png grey transparent": encode(image.convert("L"), "PNG", transparency=7),
        "png 16-bit RGB": png16(wide, 2),
        "png 16-bit grey alpha": png16(wide[..., :2], 4),
        "png animated": encode(image, "PNG", save_all=True, append_images=[other]),
        "webp lossy": encode(image, "WEBP"),
        "webp lossless": encode(image, "WEBP", lossless=True),
        "webp alpha": encode(alpha, "WEBP"),
        "webp animated": encode(image, "WEBP", save_all=True, append_images=[other]),
        "gif": encode(palette, "GIF"),
        "gif grey": encode(image.convert("L"), "GIF"),
        "gif transparent": encode(palette, "GIF", transparency=5),
        "bmp RGB": encode(image, "BMP"),
        "bmp grey": encode(image.convert("L"), "BMP"),
        "bmp palette": encode(palette, "BMP"),
        "tiff RGB": encode(image, "TIFF"),
        "tiff RGBA": encode(alpha, "TIFF"),
        "tiff LZW": encode(image, "TIFF", compression="tiff_lzw"),
        "tiff deflate": encode(image, "TIFF", compression="tiff_adobe_deflate"),
        "tiff grey": encode(image.convert("L"), "TIFF"),
        "tiff palette": encode(palette, "TIFF"),
        "tiff CMYK": encode(image.convert("CMYK"), "TIFF"),
        "avif": encode(image, "AVIF"),
        "avif alpha": encode(alpha, "AVIF"),
        "gif animated": encode(image, "GIF", save_all=True, append_images=[other]),
    }


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `encoding` runs once per flavour."""
    if "encoding" in metafunc.fixturenames:
        metafunc.parametrize("encoding", [pytest.param(data, id=name) for name, data in all_encodings().items()])


@pytest.fixture(scope="session")
def encodings() -> dict[str, bytes]:
    return all_encodings()


@pytest.fixture(scope="session")
def make() -> types.SimpleNamespace:
    """The makers above, for encodings that only one test needs."""
    return types.SimpleNamespace(picture_hwc=picture_hwc, encode=encode, png=png, png16=png16)


@pytest.fixture(scope="session")
def preprocessing() -> Preprocessing:
    return Preprocessing(size=32, resample=2, rescale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
