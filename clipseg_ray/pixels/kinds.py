"""The kinds of image that are read: one list of endings for folders, tars and columns; what other data is called."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Kind:
    """One kind of image: ``format`` as Pillow calls it, ``endings`` in lower case, the module it ``needs``."""

    format: str
    endings: tuple[str, ...]
    needs: str = "PIL"

    @property
    def is_read(self) -> bool:
        """Whether it can be decoded here."""
        return find_spec(self.needs) is not None


HEIF = Kind("HEIF", ("heic", "heif", "hif"), "pillow_heif")

KINDS = (
    Kind("JPEG", ("jpg", "jpeg", "jpe", "jfif")),
    Kind("PNG", ("png",)),
    Kind("WEBP", ("webp",)),
    Kind("GIF", ("gif",)),
    Kind("BMP", ("bmp", "dib")),
    Kind("TIFF", ("tif", "tiff")),
    Kind("AVIF", ("avif",), "PIL._avif"),
    HEIF,
)

READ = tuple(kind for kind in KINDS if kind.is_read)

ENDINGS = tuple(ending for kind in READ for ending in kind.endings)
"""Of the images that are read here, without the dot; of several images in one sample the first of these wins."""

HEIF_HINT = "pip install 'clipseg-ray[heic]' on every node reads HEIC"


def ending_of(name: str) -> str:
    """The ending of a file's name in lower case: ``jpg`` of ``a/B.JPG``; empty where there is none."""
    base = name.rpartition("/")[2].strip()
    return base.rpartition(".")[2].lower() if "." in base else ""


def has_ending(name: str, endings: tuple[str, ...]) -> bool:
    """Whether a name ends in one of ``endings`` (``.jpg``, ``.tar.gz``; lower case), in any case.

    A query string counts as none of the name: wget saves ``b.jpg?w=1``.
    """
    lower = name.lower().strip()
    return lower.endswith(endings) or ("?" in lower and lower.partition("?")[0].endswith(endings))


def is_image(name: str) -> bool:
    """Whether a name has the ending of an image that is read here."""
    return has_ending(name, _DOTTED)


_DOTTED = tuple(f".{ending}" for ending in ENDINGS)

_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\x00", b"MM\x00*")
"""Of JPEG, PNG, GIF and TIFF."""

UNTOLD = ("text", "data of no known kind", "zeros", "a BMP image")
"""Of what ``detected`` says, what a table may be too: its text may be in any encoding, and begin with ``BM``."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_SIGNATURES = (
    (b"%PDF-", "a PDF file"), (b"PK\x03\x04", "a ZIP archive"), (b"\x1f\x8b", "gzip data"),
    (b"BZh", "bzip2 data"), (b"\xfd7zXZ\x00", "xz data"), (b"\x28\xb5\x2f\xfd", "Zstandard data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"), (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x7fELF", "a program"), (b"BM", "a BMP image"), (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"), (b"\xff\x0a", "a JPEG XL image"), (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"), (b"PAR1", "a Parquet file"),
    (b"version https://git-lfs", "a Git LFS pointer, whose file `git lfs pull` fetches"),
    (b"SQLite format 3", "a database"), (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
)  # fmt: skip


def begins_as_image(data: bytes) -> bool:
    """Whether these are the first bytes of an image, as far as 16 of them tell that from anything else."""
    return data.startswith(_BEGINNINGS) or data[:4] + data[8:12] == b"RIFFWEBP" or is_heif(data) or _is_avif(data)


def _is_avif(data: bytes) -> bool:
    return data[4:12] in (b"ftypavif", b"ftypavis")


def is_heif(data: bytes) -> bool:
    """Whether these bytes begin as HEIC does."""
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS


def detected(data: bytes) -> str:
    """What kind of data this is, in words that show none of it."""
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    start = data[:1024].lstrip()
    if _is_avif(data):
        return "an AVIF image"
    if is_heif(data):
        return "a HEIC image"
    if start[:1] == b"<":
        return "HTML, XML or SVG text"
    if not data.strip(b"\x00"):
        return "zeros"
    try:
        start.decode()
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:
            return "data of no known kind"
    return "text"
