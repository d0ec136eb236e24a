"""A model as a directory that transformers' ``from_pretrained`` loads: weights, tokenizer, preprocessing."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.utils import logging

from clipseg_ray.pixels.preprocessing import BILINEAR, Preprocessing

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def imagenet_preprocessing(image_size: int) -> Preprocessing:
    """What CLIPSeg's images go through: squashed to ``image_size`` pixels a side, ImageNet's mean and deviation."""
    return Preprocessing(size=image_size, resample=BILINEAR, rescale=1 / 255, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def save(directory: Path, model: Any, tokenizer: Any, preprocessing: Preprocessing) -> None:
    """Write transformers' files of a CLIPSeg model into ``directory``."""
    with quiet():
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    preprocessor = {
        "image_processor_type": "ViTImageProcessor",
        "processor_class": "CLIPSegProcessor",
        "do_resize": True,
        "size": {"height": preprocessing.size, "width": preprocessing.size},
        "resample": preprocessing.resample,
        "do_rescale": True,
        "rescale_factor": preprocessing.rescale,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }
    (directory / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars from transformers: they would fill a worker's log."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
