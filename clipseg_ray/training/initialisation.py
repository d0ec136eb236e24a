"""A model to train from scratch: transformers' own initialisation of CLIPSeg cannot be trained from.

Its refined head gives logits of std 480, whose first gradients leave most units dead.
"""

import math
from typing import Any

import torch
from torch import nn
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

from clipseg_ray.masks.logit import logit_of
from clipseg_ray.model.decoder import query_layers

FOREGROUND = 0.1
"""Share of pixels that a mask marks, about; the last layer starts with a bias that says so."""


def new_model(config: CLIPSegConfig, seed: int, *, towers: bool = True) -> CLIPSegForImageSegmentation:
    """A model of this architecture with weights drawn from ``seed``; without ``towers`` CLIP's are yet to come."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPSegForImageSegmentation(config)
        if towers:
            _initialise_towers(model)
        initialise_decoder(model)
    return model


@torch.no_grad()
def initialise_decoder(model: Any) -> None:
    """The frameworks' defaults for all layers but the last, which starts at the foreground's prior."""
    for module in model.decoder.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.LayerNorm):
            module.reset_parameters()
        if isinstance(module, nn.ConvTranspose2d):
            # reset_parameters takes the output channels for the fan-in; where kernel equals stride it is the input's
            bound = math.sqrt(1 / module.in_channels)
            nn.init.uniform_(module.weight, -bound, bound)
    factor, summand = query_layers(model)
    for linear in (factor, summand):
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
    nn.init.ones_(factor.bias)  # the image passes through before any query has been learned
    head = model.decoder.transposed_convolution
    last: Any = head[-1] if isinstance(head, nn.Sequential) else head
    nn.init.constant_(last.bias, float(logit_of(FOREGROUND)))


@torch.no_grad()
def _initialise_towers(model: Any) -> None:
    for tower in (model.clip.vision_model, model.clip.text_model):
        depth = len(tower.encoder.layers)
        for module in tower.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for layer in tower.encoder.layers:  # what is added to the residual stream, scaled so that the sum stays 1
            for linear in (layer.self_attn.out_proj, layer.mlp.fc2):
                linear.weight.mul_((2 * depth) ** -0.5)
    embeddings = model.clip.vision_model.embeddings
    nn.init.normal_(embeddings.patch_embedding.weight, std=embeddings.patch_embedding.weight[0].numel() ** -0.5)
    nn.init.normal_(embeddings.position_embedding.weight, std=0.2)
    nn.init.normal_(embeddings.class_embedding, std=0.2)
    nn.init.normal_(model.clip.text_model.embeddings.token_embedding.weight, std=0.5)
    nn.init.normal_(model.clip.text_model.embeddings.position_embedding.weight, std=0.1)
    for projection in (model.clip.visual_projection, model.clip.text_projection):
        nn.init.normal_(projection.weight, std=projection.in_features**-0.5)
