"""Seeded random CLIPSeg checkpoints, complete with tokenizer files: every architecture without a download.

The weights know nothing: masks are blobs that follow the image and the query, no more. What is real
is the format: transformers' ``CLIPSegProcessor`` and ``CLIPSegForImageSegmentation`` load it as it is.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPTokenizer

from clipseg_ray.model.decoder import query_layers
from clipseg_ray.training.saving import imagenet_preprocessing, save
from clipseg_ray.training.tokenizer import make_tokenizer

Architecture = Literal["demo", "rd64", "rd64-refined"]

WORDS = (
    "a an and the of in on at to with from by something someone somewhere place thing things one that is "
    "has can be for photo photograph image picture drawing cropped good bad close up scene background red "
    "green blue yellow orange purple pink brown black white grey dark bright light small large big tiny "
    "round square circle triangle star ring cross rectangle shape line stripe stripes dots dotted striped "
    "plain left right top bottom middle corner edge near far next above below sky ground grass water sea "
    "road wall floor table chair sofa bed shelf desk lamp book cup bottle glass plate bowl spoon fork "
    "knife food fruit apple banana tree flower leaf car bus truck bicycle motorcycle boat train plane "
    "wheel wheels leg legs ear ears hand head person man woman child dog cat horse cow sheep bird duck "
    "fish house building door window roof bridge sit drink eat ride fly swim drive driven hold store fill "
    "open close away living creature cutlery surface items drawers handle sign ball box bag hat shoe "
    "shirt cloth paper clock phone screen keyboard"
)

_CALIBRATION_TEXTS = ["a red circle", "the blue square", "something to sit on", "a dog", "grass", "wheels"]
_COVERED_SHARE = 0.25  # of all pixels over all calibration pairs
_LOGIT_STD = 3.0


def write_checkpoint(
    directory: Path,
    *,
    seed: int = 0,
    image_size: int = 352,
    architecture: Architecture = "demo",
    **overrides: Any,
) -> None:
    """Write a CLIPSeg checkpoint with seeded random weights into `directory` (created if need be).

    architecture: ``demo`` is under 2 MB (patch 16, width 64, refined head); ``rd64`` and ``rd64-refined``
    have the released models' ViT-B/16 and decoder, save that the vocabulary is the demo's own (about 0.5 GB).
    image_size: side in pixels that the preprocessor states; the position grid is 14×14 and interpolated.
    overrides: keys of `CLIPSegConfig` (``reduce_dim=16``), those of the towers as ``vision_config={...}``.

    The head is scaled so that logits lie on both sides of 0. The same seed gives the same weights.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(WORDS.split())
    config = _config(tokenizer, architecture, overrides)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPSegForImageSegmentation(config).eval()
        _liven(model)
        _calibrate(model, tokenizer, image_size)
    save(directory, model, tokenizer, imagenet_preprocessing(image_size))


def _config(tokenizer: CLIPTokenizer, architecture: Architecture, overrides: dict[str, Any]) -> CLIPSegConfig:
    ids = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if architecture == "demo":
        text = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
        vision = {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
        }
        sizes: dict[str, Any] = {
            "projection_dim": 64,
            "reduce_dim": 32,
            "decoder_intermediate_size": 128,
            "extract_layers": [1, 2, 3],
            "use_complex_transposed_convolution": True,
        }
    else:
        text, vision = {}, {}
        sizes = {"use_complex_transposed_convolution": architecture == "rd64-refined"}
    overrides = dict(overrides)
    text = text | ids | overrides.pop("text_config", {})
    vision = vision | {"patch_size": 16, "image_size": 224} | overrides.pop("vision_config", {})
    return CLIPSegConfig(text_config=text, vision_config=vision, **(sizes | overrides))


@torch.no_grad()
def _liven(model: Any) -> None:
    """Make the random weights answer to image and query, which transformers' initialisation hardly does."""
    for linear in query_layers(model):
        nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
        nn.init.normal_(linear.bias)
    for reduce in model.decoder.reduces:
        nn.init.normal_(reduce.weight, std=reduce.in_features**-0.5)
    # Kernels almost constant over their pixels: masks are patches and blobs rather than grain.
    for module in model.decoder.transposed_convolution.modules():
        if isinstance(module, nn.ConvTranspose2d):
            channels = torch.randn_like(module.weight[:, :, :1, :1]) * module.in_channels**-0.5
            module.weight.copy_(channels * (1 + 0.1 * torch.randn_like(module.weight)))
        elif isinstance(module, nn.Conv2d):
            channels = torch.randn_like(module.weight[:, :, :1, :1]) * module.in_channels**-0.5
            smooth = torch.tensor([[0.05, 0.1, 0.05], [0.1, 0.4, 0.1], [0.05, 0.1, 0.05]])
            module.weight.copy_(channels * smooth)


@torch.no_grad()
def _calibrate(model: Any, tokenizer: Any, image_size: int) -> None:
    """Scale and shift the last layer so that a quarter of the calibration pixels lie above 0."""
    patch = model.config.vision_config.patch_size
    side = max(patch, min(image_size, 14 * patch) // patch * patch)
    images = torch.stack([_image(side) for _ in range(4)])
    tokens = tokenizer(_CALIBRATION_TEXTS, padding=True, return_tensors="pt")
    conditionals = model.clip.get_text_features(**tokens).pooler_output
    states = model.clip.get_image_features(images, output_hidden_states=True).hidden_states
    taps = [states[index + 1] for index in model.config.extract_layers]
    logits = torch.stack([model.decoder(taps, row.expand(len(images), -1)).logits for row in conditionals])
    head = model.decoder.transposed_convolution
    last: Any = head[-1] if isinstance(head, nn.Sequential) else head
    scale = _LOGIT_STD / logits.std()
    offset = np.quantile(logits.numpy(), 1 - _COVERED_SHARE)
    last.bias.copy_((last.bias - offset) * scale)
    last.weight.mul_(scale)


def _image(side: int) -> torch.Tensor:
    """Seeded low-frequency colours, normalised: [3, side, side], about N(0, 1)."""
    coarse = torch.randn(1, 3, 5, 5) * 1.5
    smooth = nn.functional.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)
    return smooth[0] + 0.2 * torch.randn(3, side, side)
