"""What a checkpoint's config.json says of CLIPSeg, and the tensors that a model of that kind has.

Keys, and what they are where a file leaves them out, are those of transformers' ``CLIPSegConfig``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from clipseg_ray.errors import UserError

ACTIVATIONS = ("quick_gelu", "gelu", "relu")

Shapes = Iterator[tuple[str, tuple[int, ...]]]
_Part = TypeVar("_Part")


@dataclass(frozen=True, kw_only=True)
class BlocksConfig:
    """Transformer blocks of one width."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int = 12
    num_attention_heads: int
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class VisionConfig(BlocksConfig):
    """CLIP's image tower. image_size: the side in pixels that its position embedding is for."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_attention_heads: int = 12
    image_size: int = 224
    patch_size: int = 32


@dataclass(frozen=True, kw_only=True)
class TextConfig(BlocksConfig):
    """CLIP's text tower."""

    hidden_size: int = 512
    intermediate_size: int = 2048
    num_attention_heads: int = 8
    vocab_size: int = 49408
    max_position_embeddings: int = 77
    eos_token_id: int = 49407


@dataclass(frozen=True, kw_only=True)
class ClipsegConfig:
    """The whole model. extract_layers: the vision tower's blocks whose outputs the decoder takes, shallowest first."""

    vision_config: VisionConfig = field(default_factory=VisionConfig)
    text_config: TextConfig = field(default_factory=TextConfig)
    projection_dim: int = 512
    extract_layers: tuple[int, ...] = (3, 6, 9)
    reduce_dim: int = 64
    decoder_num_attention_heads: int = 4
    decoder_intermediate_size: int = 2048
    conditional_layer: int = 0
    use_complex_transposed_convolution: bool = False

    @classmethod
    def from_json(cls, config: dict[str, Any]) -> ClipsegConfig:
        """Read the content of a ``config.json``; a tower's old ``*_config_dict``, where there is one, is all it says.

        Raises UserError naming a key whose value no model here has.
        """
        towers = {"vision_config": VisionConfig, "text_config": TextConfig}
        found: dict[str, Any] = {}
        for name, tower in towers.items():
            old = config.get(f"{name}_dict")
            found[name] = _taken(tower, (config.get(name) or {}) if old is None else old)
            if found[name].hidden_act not in ACTIVATIONS:
                raise UserError(
                    f"config.json: {name}.hidden_act is {found[name].hidden_act!r}; it must be one of "
                    f"{', '.join(ACTIVATIONS)}"
                )
        return _taken(cls, config | found | {"extract_layers": tuple(config.get("extract_layers", cls.extract_layers))})

    @property
    def decoder_config(self) -> BlocksConfig:
        """The decoder's blocks: one for each tap. What is not said of them is as in the vision tower."""
        return replace(
            self.vision_config,
            hidden_size=self.reduce_dim,
            intermediate_size=self.decoder_intermediate_size,
            num_hidden_layers=len(self.extract_layers),
            num_attention_heads=self.decoder_num_attention_heads,
            hidden_act="relu",
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor's name and shape, named as in transformers' ``CLIPSegForImageSegmentation``."""
        return dict([*self._clip(), *self._decoder()])

    def _clip(self) -> Shapes:
        vision, text = self.vision_config, self.text_config
        yield "clip.logit_scale", ()
        yield "clip.visual_projection.weight", (self.projection_dim, vision.hidden_size)
        yield "clip.text_projection.weight", (self.projection_dim, text.hidden_size)
        name = "clip.vision_model"
        patches = (vision.image_size // vision.patch_size) ** 2
        yield f"{name}.embeddings.class_embedding", (vision.hidden_size,)
        yield f"{name}.embeddings.patch_embedding.weight", (vision.hidden_size, 3, vision.patch_size, vision.patch_size)
        yield f"{name}.embeddings.position_embedding.weight", (patches + 1, vision.hidden_size)
        yield from _norm(f"{name}.pre_layrnorm", vision.hidden_size)
        yield from _norm(f"{name}.post_layernorm", vision.hidden_size)
        yield from _blocks(f"{name}.encoder.layers", vision)
        name = "clip.text_model"
        yield f"{name}.embeddings.token_embedding.weight", (text.vocab_size, text.hidden_size)
        yield f"{name}.embeddings.position_embedding.weight", (text.max_position_embeddings, text.hidden_size)
        yield from _norm(f"{name}.final_layer_norm", text.hidden_size)
        yield from _blocks(f"{name}.encoder.layers", text)

    def _decoder(self) -> Shapes:
        width, patch = self.reduce_dim, self.vision_config.patch_size
        for name in ("film_mul", "film_add"):
            yield from _linear(f"decoder.{name}", self.projection_dim, width)
        for number in range(len(self.extract_layers)):
            yield from _linear(f"decoder.reduces.{number}", self.vision_config.hidden_size, width)
        yield from _blocks("decoder.layers", self.decoder_config)
        head = "decoder.transposed_convolution"
        if not self.use_complex_transposed_convolution:
            yield from _kernel(head, (width, 1, patch, patch), 1)
            return
        side = patch // 4
        yield from _kernel(f"{head}.0", (width, width, 3, 3), width)
        yield from _kernel(f"{head}.2", (width, width // 2, side, side), width // 2)
        yield from _kernel(f"{head}.4", (width // 2, 1, side, side), 1)


def _taken(part: type[_Part], values: dict[str, Any]) -> _Part:
    return part(**{each.name: values[each.name] for each in fields(part) if each.name in values})  # type: ignore[arg-type]


def _kernel(name: str, shape: tuple[int, ...], out: int) -> Shapes:
    yield f"{name}.weight", shape
    yield f"{name}.bias", (out,)


def _linear(name: str, width: int, out: int) -> Shapes:
    return _kernel(name, (out, width), out)


def _norm(name: str, width: int) -> Shapes:
    return _kernel(name, (width,), width)


def _blocks(name: str, blocks: BlocksConfig) -> Shapes:
    width, hidden = blocks.hidden_size, blocks.intermediate_size
    for number in range(blocks.num_hidden_layers):
        block = f"{name}.{number}"
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _linear(f"{block}.self_attn.{projection}", width, width)
        yield from _linear(f"{block}.mlp.fc1", width, hidden)
        yield from _linear(f"{block}.mlp.fc2", hidden, width)
        yield from _norm(f"{block}.layer_norm1", width)
        yield from _norm(f"{block}.layer_norm2", width)
