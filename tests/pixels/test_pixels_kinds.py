"""One list of what is read: the endings that folders, tars and tables go by are those that the decoder takes."""

import io

import pytest
from PIL import Image

from clipseg_ray.pixels import kinds
from clipseg_ray.pixels.opening import FORMATS, opened
from clipseg_ray.sources.images import Images
from clipseg_ray.sources.parquet import IMAGE_COLUMNS
from clipseg_ray.sources.webdataset import WebDataset


def test_there_is_one_list() -> None:
    assert tuple(f".{ending}" for ending in kinds.ENDINGS) == Images.endings
    assert WebDataset("/x").extensions == kinds.ENDINGS
    assert set(kinds.ENDINGS) < set(IMAGE_COLUMNS)
    assert len(set(kinds.ENDINGS)) == len(kinds.ENDINGS)
    assert {"jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff"} <= set(kinds.ENDINGS)


@pytest.mark.parametrize("kind", [kind for kind in kinds.READ if kind is not kinds.HEIF], ids=lambda kind: kind.format)
def test_what_is_listed_can_be_decoded(kind: kinds.Kind) -> None:
    assert kind.format in FORMATS
    sink = io.BytesIO()
    Image.new("RGB", (20, 10), (200, 30, 30)).save(sink, kind.format)
    with opened(sink.getvalue()) as image:
        assert image.size == (20, 10)
        assert image.convert("RGB").getpixel((5, 5))[0] > 180  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "ending", "image"),
    [
        ("a/B.JPG", "jpg", True),
        ("b.jpg?w=1&h=a.b", "b", True),
        ("what?.png", "png", True),
        ("c.jpg ", "jpg", True),
        ("d.jpg.1", "1", False),
        ("e.dng", "dng", False),
        ("f", "", False),
        ("g.tar/h", "", False),
    ],
)
def test_endings(name: str, ending: str, image: bool) -> None:
    assert (kinds.ending_of(name), kinds.is_image(name)) == (ending, image)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x1f\x8b\x08", "gzip data"),
        (b"BZh91AY&SY", "bzip2 data"),
        (b"\x28\xb5\x2f\xfd", "Zstandard data"),
        (b"\0\0\0 ftypavif", "an AVIF image"),
        (b"\0\0\0 ftypmif1", "a HEIC image"),
        (b"\xff\x0a", "a JPEG XL image"),
        (b"  <!DOCTYPE html>", "HTML, XML or SVG text"),
        ("grün".encode(), "text"),
    ],
)
def test_other_data_is_called_by_its_kind(data: bytes, words: str) -> None:
    assert kinds.detected(data) == words
