"""The half of CLIPSeg that knows no query: pixels → the decoder's reduced inputs, once per image."""

from dataclasses import dataclass

import torch
from torch import nn

from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.model.layers import DecoderBlock, EncoderBlock, Linear, layer_norm
from clipseg_ray.model.towers import position_rows
from clipseg_ray.model.weights import Weights


@dataclass
class Features:
    """What the decoder needs of a batch of images, for any query.

    taps_kbtd: [k, b, t, d] in the engine's precision. k runs over the decoder blocks from the conditional layer on:
    the first is the state FiLM acts on, each further one the reduced tap added before its block. With CLIPSeg's
    three taps and conditional layer 0, k = 3.
    embedding_bc: CLIP's image projection, un-normalised float32, when presence was asked for.
    """

    taps_kbtd: torch.Tensor
    embedding_bc: torch.Tensor | None = None

    def __len__(self) -> int:
        return self.taps_kbtd.shape[1]

    def __getitem__(self, images: slice | torch.Tensor) -> "Features":
        embedding_bc = self.embedding_bc
        return Features(self.taps_kbtd[:, images], None if embedding_bc is None else embedding_bc[images])


class Encoder(nn.Module):
    """uint8 pixels [b, S, S, 3] → taps [k, b, t, d], and [b, c] CLIP projections with `presence`.

    Only blocks up to the deepest tap run (10 of CLIP's 12), the position embedding is interpolated once, and
    whatever the decoder computes before FiLM (the reduces; its first blocks where the conditional layer is not the
    first) is done here, once per image instead of once per query.
    """

    gain_c: torch.Tensor
    offset_c: torch.Tensor
    class_token_d: torch.Tensor
    position_td: torch.Tensor

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype, presence: bool = False) -> None:
        super().__init__()
        config, preprocessing = checkpoint.config, checkpoint.preprocessing
        clip, decoder = checkpoint.weights.under("clip"), checkpoint.weights.under("decoder")
        tower, vision = config.vision_config, clip.under("vision_model")
        self.patch = tower.patch_size
        self.side = preprocessing.size
        self.grid = self.side // self.patch
        count = tower.num_hidden_layers
        # transformers indexes its list of hidden states, whose first entry is the input of the first block.
        self.states = [range(count + 1)[index + 1] for index in config.extract_layers][::-1]
        self.depth = count if presence else max(self.states)
        self.presence = presence
        self.conditional_layer = config.conditional_layer

        self._take_embeddings(vision.under("embeddings"))
        self.pre_norm = layer_norm(vision.under("pre_layrnorm"), tower)
        blocks, reduces, early = vision.under("encoder.layers"), decoder.under("reduces"), decoder.under("layers")
        self.blocks = nn.ModuleList(EncoderBlock(blocks.under(index), tower) for index in range(self.depth))
        self.reduces = nn.ModuleList(Linear.of(reduces.under(index)) for index in range(len(self.states)))
        self.hoisted = nn.ModuleList(
            DecoderBlock(early.under(index), config.decoder_config) for index in range(self.conditional_layer)
        )
        if presence:
            self.post_norm = layer_norm(vision.under("post_layernorm"), tower)
            self.projection = Linear(clip["visual_projection.weight"], None)
        self.to(dtype)
        # (x·rescale − mean) / std as one multiply and one subtract, in float32 whatever the weights are.
        std = torch.tensor(preprocessing.std, dtype=torch.float64)
        gain = preprocessing.rescale / std
        offset = torch.tensor(preprocessing.mean, dtype=torch.float64) / std
        self.register_buffer("gain_c", gain.float())
        self.register_buffer("offset_c", offset.float())

    def _take_embeddings(self, embeddings: Weights) -> None:
        kernel = embeddings["patch_embedding.weight"]  # [d, 3, patch, patch]
        self.embed = Linear(kernel.permute(0, 2, 3, 1).reshape(len(kernel), -1), None)
        positions_td = position_rows(embeddings, self.grid)
        self.register_buffer("position_td", positions_td[1:].clone())
        self.register_buffer("class_token_d", embeddings["class_embedding"] + positions_td[0])

    def forward(self, pixels_bhwc: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x_btd = self.pre_norm(self._tokens(pixels_bhwc))
        wanted = {0: x_btd}
        for number, block in enumerate(self.blocks, start=1):
            x_btd = block(x_btd)
            if number in self.states:
                wanted[number] = x_btd
        taps = self._taps([wanted[state] for state in self.states])
        if not self.presence:
            return (taps,)
        return taps, self.projection(self.post_norm(x_btd[:, 0])).float()

    def _tokens(self, pixels_bhwc: torch.Tensor) -> torch.Tensor:
        b, grid, patch = len(pixels_bhwc), self.grid, self.patch
        pixels_bhwc = pixels_bhwc[:, : grid * patch, : grid * patch]
        normal = pixels_bhwc.float() * self.gain_c - self.offset_c
        patches = normal.to(self.position_td.dtype).view(b, grid, patch, grid, patch, 3)
        patches = patches.permute(0, 1, 3, 2, 4, 5).reshape(b, grid * grid, patch * patch * 3)
        tokens_btd = self.embed(patches) + self.position_td
        return torch.cat([self.class_token_d.expand(b, 1, -1), tokens_btd], dim=1)

    def _taps(self, activations: list[torch.Tensor]) -> torch.Tensor:
        reduced = [reduce(state) for reduce, state in zip(self.reduces, activations, strict=True)]
        for number, block in enumerate(self.hoisted):
            reduced[number + 1] = reduced[number + 1] + block(reduced[number])
        return torch.stack(reduced[self.conditional_layer :])
