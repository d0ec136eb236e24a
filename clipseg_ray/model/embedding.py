"""Prompts into CLIP's joint space: one un-normalised vector of width `projection_dim` per text or image.

Sums over several threads round otherwise than over one, and masks follow these vectors: all here computes on one.
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from clipseg_ray.model import towers
from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.pixels.preprocessing import Preprocessing


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread, so that its numbers do not depend on the machine's cores; as it was set, afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def embed_texts(checkpoint: Checkpoint, texts: Sequence[str], batch: int = 64) -> np.ndarray:
    """CLIP's text projections of `texts`: float32 [n, c], un-normalised, as CLIPSeg's decoder expects them.

    Each text is tokenised at its natural length and batched with others of that length, so nothing is padded;
    texts beyond the model's 77 tokens are truncated (see `token_counts`).
    """
    tokens = _tokens(checkpoint, texts)
    lengths = [len(ids) for ids in tokens]
    order = sorted(range(len(texts)), key=lambda index: lengths[index])
    conditionals_qc = np.empty((len(texts), checkpoint.config.projection_dim), np.float32)
    for chosen in _runs(order, lengths, batch):
        ids_qt = torch.tensor([tokens[index] for index in chosen])
        with torch.inference_mode():
            conditionals_qc[chosen] = towers.text_projections(checkpoint.config, checkpoint.weights, ids_qt).numpy()
    return conditionals_qc


def token_counts(checkpoint: Checkpoint, texts: Sequence[str]) -> list[int]:
    """Tokens of each text, start and end included, before truncation."""
    return [len(ids) for ids in checkpoint.tokenizer.ids(texts)]


@one_thread()
def embed_images(checkpoint: Checkpoint, pixels: np.ndarray | torch.Tensor, batch: int = 8) -> np.ndarray:
    """CLIP's image projections: float32 [n, c], un-normalised.

    `pixels`: uint8 [n, S, S, 3], or float32 [n, 3, S, S] already normalised (composed image prompts are). As for
    transformers' ``conditional_pixel_values`` the position grid is interpolated to S.
    """
    pixels = torch.as_tensor(pixels)
    rows = [np.empty((0, checkpoint.config.projection_dim), np.float32)]
    for start in range(0, len(pixels), batch):
        chunk = pixels[start : start + batch]
        pixels_bchw = normalise(chunk, checkpoint.preprocessing) if chunk.dtype == torch.uint8 else chunk
        with torch.inference_mode():
            rows.append(towers.image_projections(checkpoint.config, checkpoint.weights, pixels_bchw).numpy())
    return np.concatenate(rows)


def normalise(pixels_bhwc: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """uint8 [b, h, w, 3] → float32 [b, 3, h, w] as the checkpoint's image processor leaves them."""
    mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
    return ((pixels_bhwc.float() * preprocessing.rescale - mean) / std).permute(0, 3, 1, 2).contiguous()


def _tokens(checkpoint: Checkpoint, texts: Sequence[str]) -> list[list[int]]:
    positions, tokenizer = checkpoint.config.text_config.max_position_embeddings, checkpoint.tokenizer
    return tokenizer.ids(texts, min(positions, tokenizer.longest or positions))


def _runs(order: list[int], lengths: list[int], batch: int) -> Iterator[list[int]]:
    """`order` cut into runs of equal length, at most `batch` long."""
    for _, same in itertools.groupby(order, key=lambda index: lengths[index]):
        members = list(same)
        for start in range(0, len(members), batch):
            yield members[start : start + batch]
