"""transformers' own model and tokenizer of a loaded checkpoint, to hold ours against."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoTokenizer, CLIPSegForImageSegmentation

from clipseg_ray.model.checkpoint import Checkpoint


def model_of(checkpoint: Checkpoint) -> Any:
    """``CLIPSegForImageSegmentation`` in float32 and eval."""
    model: Any = CLIPSegForImageSegmentation.from_pretrained(checkpoint.folder, dtype=torch.float32)
    return model.eval()


def tokenizer_of(checkpoint: Checkpoint) -> Any:
    """``CLIPTokenizer``."""
    return AutoTokenizer.from_pretrained(checkpoint.folder)
