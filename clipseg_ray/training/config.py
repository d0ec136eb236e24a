"""The training configuration; see ``configs/train-phrasecut.yaml`` and ``configs/train-scenes.yaml``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from clipseg_ray.queries.modes import DEFAULT_MODE, parse_mode
from clipseg_ray.queries.templates import resolve_templates
from clipseg_ray.settings import CheckpointName, Location, Locations, OneOrSeveral, Section, Settings
from clipseg_ray.training import held_out

Share = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class DataConfig(Section):
    """Images with true masks."""

    url: Annotated[Locations, Field(min_length=1)]
    """Truth shards (URLs, folders or globs of tars), or the folder of a PhraseCut release (``VGPhraseCut_v0``)."""
    format: Literal["shards", "phrasecut"] = "shards"
    """Truth shards, or PhraseCut's release."""
    split: str = "train"
    """PhraseCut: which of ``refer_<split>.json``."""
    pictures: Location | None = None
    """PhraseCut: the folder of Visual Genome's images. Default: ``images`` in the release's folder."""
    held_out: tuple[str, ...] = ()
    """Phrases of these are left out, for only testing may see them: published lists of classes (``pas5i/0`` … ``/3``,
    ``zero-shot/2``, ``/4`` … ``/10``, ``affordances``), a word in any of its forms, several words as they stand."""
    limit: Count | None = None
    """Only the first so many images."""


class ValidationConfig(DataConfig):
    """What is measured on the way."""

    every: Count = 1000
    """Steps between measurements; the last step is always measured."""


class SamplingConfig(Section):
    """PhraseCut+: what is asked of an image."""

    phrases_per_image: Count = 1
    """Each image is encoded once and asked so many phrases; 1 as published."""
    negatives: Share = 0.2
    """Probability that a phrase is one that the image lacks, whose mask is empty."""
    negatives_from: Literal["phrases", "samples"] = "phrases"
    """Drawn from all phrases alike, as published, or as often as each phrase holds."""
    support_share: Share = 1.0
    """Share of the phrases with a picture prompt beside the text. Each costs a pass of the vision tower."""
    support_weight: tuple[Share, Share] = (0.0, 1.0)
    """The picture prompt's share in the blend is uniform between these; the authors' code has 0.5 and 1."""
    support_alone: Share = 0.0
    """Share of the picture prompts that stand alone, without the text."""
    only_visual: bool = False
    """Only queries that another image has as well are asked, absent ones too, so that none is without its picture
    prompt; the authors' ``only_visual``. With ``support_share: 1`` and ``support_alone: 1`` no text is seen."""
    support_kinds: list[str] | None = None
    """Only queries of these kinds get picture prompts: what an image of a red chair shows is a chair. Default: all."""
    support_mode: str = DEFAULT_MODE
    """How support picture and mask become the picture prompt."""
    template: Annotated[OneOrSeveral, Field(min_length=1)] = Field(default_factory=lambda: ["shuffle+"])
    """Template sets or templates, one drawn per phrase."""
    crop: bool = True
    """A random square of the image's shorter side, of up to 50 the first with 5 % foreground, else the best."""
    crop_scale: tuple[Side, Side] = (1.0, 1.0)
    """The square's side as a share of the shorter side is uniform between these; 1 as published."""
    crop_shape: Literal["square", "image"] = "square"
    """image: the crop has the image's own proportions instead, ``crop_scale`` of its width and height. An image is
    squashed to a square whatever its shape: where few are seen, what is learned of should look as what is asked."""
    mirror: Share = 0.0
    """Probability that an image is mirrored, a prompt's too; 0 as published: phrases may say left or right."""
    colour_jitter: bool = False
    """Brightness, contrast, saturation and hue are changed at random, a prompt's too: the authors' ``aug_color``."""


class VisionConfig(Section):
    """A vision tower from scratch; keys and their meaning are transformers'."""

    hidden_size: Count = 128
    num_hidden_layers: Count = 6
    num_attention_heads: Count = 4
    intermediate_size: Count = 320
    patch_size: Count = 16


class TextConfig(Section):
    """A text tower from scratch; keys and their meaning are transformers'."""

    hidden_size: Count = 64
    num_hidden_layers: Count = 2
    num_attention_heads: Count = 4
    intermediate_size: Count = 128


class TrainingModelConfig(Section):
    """What is trained: the decoder over a frozen CLIP, or a model from scratch."""

    checkpoint: CheckpointName | None = None
    """A CLIP, or a CLIPSeg whose CLIP is kept: a hub name, directory or URL (of CLIP also OpenAI's ``ViT-B-16.pt``, its
    ``bpe_simple_vocab_16e6.txt.gz`` beside it). None: everything from scratch."""
    train: Literal["decoder", "everything"] | None = None
    """Default: the decoder over a ``checkpoint``, else everything."""
    image_size: Count = 352
    """Side of the square that images are brought to, in pixels."""
    vision: VisionConfig = VisionConfig()
    text: TextConfig = TextConfig()
    projection_dim: Count = 128
    """From scratch only, as ``vision`` and ``text``."""
    reduce_dim: Count = 64
    """Width of the decoder's tokens."""
    decoder_heads: Count = 4
    """Attention heads of the decoder's blocks."""
    decoder_intermediate_size: Count = 2048
    """Width of their hidden layers."""
    extract_layers: Annotated[tuple[int, ...], Field(min_length=1)] = (3, 6, 9)
    """Blocks of the vision tower, from 0, whose outputs the decoder reads."""
    refined: bool = True
    """The head of two small transposed convolutions instead of one large one."""
    decoder_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the decoder's attention weights and activations that each step of training leaves out, as published;
    nothing of it is left in the model."""


class OptimiserConfig(Section):
    """AdamW from ``lr`` along a cosine to ``final_lr``, as published; Muon beside it where ``hidden_lr`` is given."""

    steps: Count = 20_000
    """Updates of the weights."""
    batch_images: Count = 64
    """Images in a step, over all workers."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """AdamW's rate after the warm-up."""
    final_lr: Annotated[float, Field(ge=0)] = 1e-4
    """Its rate at the last step."""
    hidden_lr: Annotated[float, Field(gt=0)] | None = None
    """Rate of Muon (orthogonalised momentum, K. Jordan 2024) for the matrices inside transformer blocks, along the same
    curve: a tower from scratch learns faster with it. None: AdamW for all."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Steps in which the rate rises linearly from 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Of all weights, by AdamW and Muon alike."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Greatest norm of the gradient."""
    contrastive_weight: Annotated[float, Field(ge=0)] = 0.0
    """Of the loss that draws picture prompt and text of one query together."""
    patch_weight: Annotated[float, Field(ge=0)] = 0.0
    """Of the loss that has every patch predict by itself which queries hold there, through CLIP's own projections. It
    stands for CLIP's pre-training where there is none: an image answers all queries at once, without the decoder."""
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of the running mean of the weights, which is then what is measured and saved."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """fp16 is scaled. auto: fp16 on a GPU, bf16 on a CPU that multiplies it, else fp32."""


class TrainingWorkersConfig(Section):
    """Who computes."""

    count: Count = 1
    """Workers, which share each step's images."""
    gpus: Annotated[float, Field(ge=0)] = 0.0
    """GPUs of each worker."""
    cpus: Annotated[float, Field(gt=0)] = 1.0
    """CPUs of each worker, and threads it computes with."""
    loaders: Annotated[int, Field(ge=1)] = 1
    """Threads of each worker that prepare batches."""
    retries: Annotated[int, Field(ge=0)] = 3
    """How often the run goes on from its last checkpoint after a worker has died."""
    wait_s: Annotated[float, Field(gt=0)] = 600.0
    """How long the workers may take to start before the run ends saying what is missing."""


class TrainingOutputConfig(Section):
    """What is left."""

    url: Location
    """The folder, at any URL: ``model/`` for transformers, ``log.jsonl``, ``curve.png``, ``checkpoints/``."""
    every: Count = 1000
    """Steps between checkpoints."""


class TrainConfig(Settings):
    """Everything one training run needs."""

    data: DataConfig
    output: TrainingOutputConfig
    validation: ValidationConfig | None = None
    sampling: SamplingConfig = SamplingConfig()
    model: TrainingModelConfig = TrainingModelConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    workers: TrainingWorkersConfig = TrainingWorkersConfig()
    seed: int = 0
    """Of everything that is drawn: initial weights, images, phrases, crops."""

    examples: ClassVar[Mapping[str, str]] = {"data": "data: {url: scenes/}", "output": "output: {url: trained/}"}

    def faults(self) -> Iterator[str]:
        """See ``Settings``."""
        try:
            parse_mode(self.sampling.support_mode)
        except ValueError as error:
            yield f"sampling.support_mode: {error}"
        try:
            resolve_templates(self.sampling.template)
        except ValueError as error:
            yield f"sampling.template: {error}"
        for name in ("support_weight", "crop_scale"):
            low, high = getattr(self.sampling, name)
            if low > high:
                yield f"sampling.{name}: {low:g} is more than {high:g}"
        model, optimiser = self.model, self.optimiser
        if model.checkpoint is None and model.train == "decoder":
            yield "model.train: a decoder needs the CLIP of a model.checkpoint; give one"
        depth = model.vision.num_hidden_layers
        if model.checkpoint is None and not all(0 <= layer < depth for layer in model.extract_layers):
            yield f"model.extract_layers: the vision tower has blocks 0…{depth - 1}; give up to three of them"
        if sorted(set(model.extract_layers)) != list(model.extract_layers):
            yield f"model.extract_layers: give each once, in rising order (got {list(model.extract_layers)})"
        if optimiser.batch_images % self.workers.count:
            yield f"optimiser.batch_images: {optimiser.batch_images} is no multiple of workers.count"
        for name, data in (("data", self.data), ("validation", self.validation)):
            if data is None:
                continue
            if data.format == "phrasecut" and len(data.url) > 1:
                yield f"{name}.url: a PhraseCut release is one folder (got {len(data.url)})"
            yield from (f"{name}.held_out: {fault}" for fault in held_out.faults(data.held_out))
        if optimiser.final_lr > optimiser.lr:
            yield "optimiser.final_lr: is more than optimiser.lr"
        if optimiser.precision == "fp16" and not self.workers.gpus:
            yield "optimiser.precision: fp16 is for GPUs (workers.gpus); choose bf16 or fp32"
