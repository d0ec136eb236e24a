"""A dataset in the forms other tools train on and look at, each written in one pass with a chunk in memory.

``walk`` goes through the dataset image by image, ``selection`` chooses masks, one module writes each form, ``command``
puts them together.
"""

from enum import StrEnum


class Form(StrEnum):
    """The forms there are, by the name a person gives."""

    COCO = "coco"
    YOLO = "yolo"
    LABEL_STUDIO = "label-studio"
    SA_1B = "sa-1b"
    WEBDATASET = "webdataset"
    HUGGINGFACE = "huggingface"
    LABEL_MAPS = "label-maps"
    SOFT = "soft"
    OVERLAYS = "overlays"


class Images(StrEnum):
    """What becomes of the images, by the word a person gives."""

    COPY = "copy"
    NONE = "none"
