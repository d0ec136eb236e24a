"""Files of weights given in place of a checkpoint, which is a folder: what one is, and what to give instead."""

from __future__ import annotations

import zipfile
from typing import IO
from urllib.parse import urlsplit

from clipseg_ray.model import hub

_ENDINGS = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
_NAMES_WITHIN = 2**22
"""Bytes of a pickle in which the names of its tensors stand; the authors' has 4 MB of tensors beside 10 kB of names."""

NO_FOLDER = (
    "a file of weights; a checkpoint is a folder, written by transformers' save_pretrained, or one on the hub "
    f"({', '.join(hub.PUBLISHED)})"
)
OF_THE_AUTHORS = (
    "is a training file of CLIPSeg's authors: the decoder alone, without CLIP and under names of their own; the hub "
    f"has the same models whole: {', '.join(hub.PUBLISHED)}"
)


def is_one(name: str) -> bool:
    """Whether a path or URL ends as files of weights do."""
    return urlsplit(name).path.lower().endswith(_ENDINGS)


def is_training_file(name: str) -> bool:
    """Whether a name ends as the authors' files do."""
    return name.lower().endswith(".pth")


def what_is(name: str, file: IO[bytes]) -> str:
    """What a file given as a checkpoint is, and what to give instead; nothing in it is executed."""
    names = _names(file)
    if b"film_mul" in names and b"decoder.film_mul" not in names:
        return OF_THE_AUTHORS
    if b"decoder.film_mul" in names:
        return "is the tensors of a model without its configuration; save it with save_pretrained and give the folder"
    return f"is {NO_FOLDER}" if is_one(name) else "is a file; a checkpoint is a folder that holds config.json"


def _names(file: IO[bytes]) -> bytes:
    """The part of a file of weights that has the tensors' names: torch's ZIP has a pickle for it, others begin so."""
    try:
        with zipfile.ZipFile(file) as archive:
            for piece in archive.infolist():
                if piece.filename.endswith("data.pkl") and piece.file_size <= _NAMES_WITHIN:
                    return archive.read(piece)
    except (zipfile.BadZipFile, OSError, ValueError):
        pass  # no ZIP, or a broken one
    file.seek(0)
    return file.read(_NAMES_WITHIN)
