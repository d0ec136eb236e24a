"""A dataset in the forms other tools train on and look at, each written in one pass with a chunk in memory.

``walk`` goes through the dataset image by image, one module writes each form, ``command`` chooses.
"""

from enum import StrEnum


class Form(StrEnum):
    """The forms there are, by the name a person gives."""

    COCO = "coco"
    HUGGINGFACE = "huggingface"
    LABEL_MAPS = "label-maps"
    OVERLAYS = "overlays"
