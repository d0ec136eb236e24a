"""The two ways CLIPSeg is run with transformers: as its documentation shows, and factored by hand.

Both take encoded JPEGs and give for each image what ours gives: COCO run lengths, maximum, mean inside.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor
from transformers.utils import logging

THRESHOLD = 0.5


@dataclass
class Masks:
    """P masks of one image: COCO RLEs, and float32 [P] highest probability and mean probability inside."""

    rles: list[dict[str, Any]]
    score_p: np.ndarray
    score_mean_p: np.ndarray


class Transformers:
    """What both baselines share: processor and model in fp32, as ``from_pretrained`` gives them."""

    def __init__(self, checkpoint: str, device: str) -> None:
        logging.disable_progress_bar()
        self.device = device
        self.processor = CLIPSegProcessor.from_pretrained(checkpoint)
        model: Any = CLIPSegForImageSegmentation.from_pretrained(checkpoint, dtype=torch.float32)
        self.model = model.eval().to(device)

    def documented(self, jpeg: bytes, texts: Sequence[str], at_once: int) -> Masks:
        """The image repeated once per prompt, ``at_once`` prompts a call."""
        return _joined([masks_of(logits_phw) for logits_phw in self.documented_logits(jpeg, texts, at_once)])

    def documented_logits(self, jpeg: bytes, texts: Sequence[str], at_once: int) -> Iterator[torch.Tensor]:
        """float32 [≤ at_once, h, w] on the device, call by call."""
        image = _image(jpeg)
        for start in range(0, len(texts), at_once):
            chosen = list(texts[start : start + at_once])
            inputs = self.processor(text=chosen, images=[image] * len(chosen), padding=True, return_tensors="pt")
            with torch.inference_mode():
                logits = self.model(**inputs.to(self.device)).logits
            yield logits.reshape(len(chosen), *logits.shape[-2:])

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """The conditionals [q, c] of the factored way, embedded once for all images."""
        tokenizer: Any = self.processor.tokenizer
        tokens = tokenizer(list(texts), padding=True, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            return self.model.clip.get_text_features(**tokens).pooler_output

    def factored(self, jpeg: bytes, conditionals_qc: torch.Tensor, at_once: int) -> Masks:
        """The vision model once, the decoder over ``at_once`` prompts at a time with expanded activations."""
        image_processor: Any = self.processor.image_processor
        pixels = image_processor(_image(jpeg), return_tensors="pt").pixel_values.to(self.device)
        found = []
        with torch.inference_mode():
            states = self.model.clip.vision_model(
                pixels, output_hidden_states=True, interpolate_pos_encoding=True
            ).hidden_states
            activations = [states[index + 1] for index in self.model.config.extract_layers]
            for conditionals_pc in conditionals_qc.split(at_once):
                count = len(conditionals_pc)
                logits = self.model.decoder([a.expand(count, -1, -1) for a in activations], conditionals_pc).logits
                found.append(masks_of(logits.reshape(count, *logits.shape[-2:])))
        return _joined(found)


def masks_of(logits_phw: torch.Tensor) -> Masks:
    """sigmoid, threshold, pycocotools, scores: with numpy on the host, mask by mask (faster there than all at once)."""
    rles, score, score_mean = [], [], []
    for probability_hw in logits_phw.sigmoid().cpu().numpy():
        inside_hw = probability_hw > THRESHOLD
        rles.append(coco.encode(np.asfortranarray(inside_hw, dtype=np.uint8)))
        score.append(probability_hw.max())
        score_mean.append(probability_hw[inside_hw].mean() if inside_hw.any() else np.nan)
    return Masks(rles, np.array(score, np.float32), np.array(score_mean, np.float32))


def _image(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg)).convert("RGB")


def _joined(parts: Sequence[Masks]) -> Masks:
    return Masks(
        [rle for part in parts for rle in part.rles],
        np.concatenate([part.score_p for part in parts]),
        np.concatenate([part.score_mean_p for part in parts]),
    )
