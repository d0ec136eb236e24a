"""What training lowers: binary cross-entropy of the masks, and a contrast between picture prompts and texts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipseg_ray.model.cleaning import cleaned
from clipseg_ray.model.decoder import query_layers
from clipseg_ray.training.batches import Batch
from clipseg_ray.training.config import OptimiserConfig
from clipseg_ray.training.network import Model, decode, embed_texts, encode, to_patches
from clipseg_ray.training.starting import Start

_GREATEST_SCALE = 100.0
_RARE = -4.5
"""The logit that a query holds on a patch, before anything is known."""


class Objective(nn.Module):
    """The losses of a batch as a function of the model's parameters."""

    def __init__(self, begun: Start, config: OptimiserConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.model: Model = begun.model
        self._tokenizer = begun.tokenizer
        self._preprocessing = begun.preprocessing
        self._frozen = begun.frozen_clip
        self._weight = config.contrastive_weight
        self._patch_weight = config.patch_weight
        self._dropout = dropout
        if not self._weight:
            self.model.clip.logit_scale.requires_grad_(False)
        longest = self.model.config.text_config.max_position_embeddings
        self._longest = min(self._tokenizer.model_max_length, longest)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its parts by name (detached)."""
        dtype = query_layers(self.model)[0].weight.dtype
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._frozen):
            pixels = torch.cat([self.normalise(batch.pixels), batch.prompts]).to(dtype)
            taps, prompts_mc = encode(self.model, pixels, len(batch.pixels))
            texts_rc = embed_texts(self.model, self.tokens(batch.texts).to(pixels.device))[batch.text_r]
        conditionals_rc = texts_rc
        if prompts_mc is not None:
            paired_mc = texts_rc[batch.prompt_row_m]
            blend_mc = (prompts_mc - paired_mc) * batch.share_m[:, None].to(dtype)
            conditionals_rc = texts_rc.index_add(0, batch.prompt_row_m, blend_mc)
        logits = decode(self.model, taps, conditionals_rc, self._dropout if self.training else 0.0).float()
        labels = to_patches(batch.labels, self.model).float()
        loss = F.binary_cross_entropy_with_logits(logits, labels)
        parts = {"bce": loss.detach()}
        if self._weight:  # 0 where no row has a picture prompt, so that all workers report the same parts
            contrast = loss.new_zeros(())
            if prompts_mc is not None:
                contrast = self._contrast(prompts_mc.float(), paired_mc.float(), batch.query_m)
            parts["contrastive"] = contrast.detach()
            loss = loss + self._weight * contrast
        if self._patch_weight:
            patch = self._by_patch(taps[-1], batch)
            parts["patch"] = patch.detach()
            loss = loss + self._patch_weight * patch
        return loss, parts

    def normalise(self, pixels_bhwc: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] → float32 [B, 3, S, S]."""
        preprocessing = self._preprocessing
        mean, std = (
            torch.tensor(values, device=pixels_bhwc.device) for values in (preprocessing.mean, preprocessing.std)
        )
        return ((pixels_bhwc.float() * preprocessing.rescale - mean) / std).permute(0, 3, 1, 2)

    def tokens(self, texts: tuple[str, ...] | list[str]) -> Tensor:
        """int64 [q, t], padded at the end, which no text sees."""
        found = self._tokenizer(
            [cleaned(text) for text in texts],
            padding=True,
            truncation=True,
            max_length=self._longest,
            return_tensors="pt",
        )
        ids: Tensor = found["input_ids"]
        return ids

    def _by_patch(self, deepest_btv: Tensor, batch: Batch) -> Tensor:
        """Binary cross-entropy of each patch's projection with every query's text, summed over the queries."""
        clip = self.model.clip
        patches_bnc = clip.visual_projection(clip.vision_model.post_layernorm(deepest_btv[:, 1:]))
        texts_qc = embed_texts(self.model, self.tokens(batch.wordings).to(patches_bnc.device))
        logits_bnq = (patches_bnc @ texts_qc.t()).float() * patches_bnc.shape[-1] ** -0.5 + _RARE
        cover_bqn = logits_bnq.new_zeros(logits_bnq.transpose(1, 2).shape)
        cover_bqn[batch.image_t, batch.query_t] = batch.cover_tn
        loss = F.binary_cross_entropy_with_logits(logits_bnq, cover_bqn.transpose(1, 2), reduction="sum")
        return loss / (patches_bnc.shape[0] * patches_bnc.shape[1])

    def _contrast(self, prompts_mc: Tensor, texts_mc: Tensor, query_m: Tensor) -> Tensor:
        """InfoNCE both ways; prompts of one query are all right answers to its texts."""
        scale = self.model.clip.logit_scale.float().exp().clamp(max=_GREATEST_SCALE)
        logits_mm = scale * F.normalize(prompts_mc, dim=1) @ F.normalize(texts_mc, dim=1).t()
        same_mm = (query_m[:, None] == query_m).float()
        targets_mm = same_mm / same_mm.sum(1, keepdim=True)
        return (F.cross_entropy(logits_mm, targets_mm) + F.cross_entropy(logits_mm.t(), targets_mm)) / 2
