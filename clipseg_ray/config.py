"""The run configuration: one model per concern, read from YAML, changed by dotted overrides, checked all at once.

config = load("demo-output/demo.yaml", ["masks.threshold=0.4", "pool.max=8"])
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from clipseg_ray.pixels.views import Views
from clipseg_ray.settings import ByteCount, CheckpointName, Location, Locations, OneOrSeveral, Section, Settings

DEFAULT_TABLE = "builtin:affordances"
FOUND = 0.1
"""Greatest probability in the whole image above which a query is worth a look in tiles, unless said otherwise."""
REFINE_RADIUS, REFINE_EPSILON = 8, 3e-4
"""Measured: docs/finer.md."""


def _known_format(name: str) -> str:
    # Loaded here and not above: no command has to wait for Arrow in order to say what it does.
    from clipseg_ray.sources import formats

    return formats.known(name)


class InputConfig(Section):
    """Which images are read, and how they are cut."""

    url: Annotated[Locations, Field(min_length=1)]
    """URLs, folders or globs, one or several: ``s3://bucket/train-{0000..0099}.tar``, ``photos/``, ``*.parquet``."""
    format: Annotated[str, AfterValidator(_known_format)] | None = None
    """``webdataset``, ``parquet``, ``images`` or ``manifest``. Found from the names when not given."""
    image_field: str | None = None
    """The tar member extension, Parquet column or manifest column that holds the image (or its URL).

    Of several extensions (``jpg;png``) the first that a sample has; ``*`` takes every image of a tar's sample, as
    ``<key>.<extension>``.
    """
    id_field: str | None = None
    """A sample field to take as ``image_id``; it must be unique. Default: ``<shard path>/<key>``."""
    chunk_images: Annotated[int, Field(ge=1, le=4096)] = 256
    """Images in a chunk, at most: the unit of work, retry and output file. Small shards are cut into smaller ones."""
    chunk_bytes: Annotated[ByteCount, Field(ge=1)] = 256 * 2**20
    """A chunk also closes once its encoded images reach this many bytes, or the decoded ones 128 MiB."""
    max_image_bytes: Annotated[ByteCount, Field(ge=1)] = 256 * 2**20
    """An encoded image of more bytes is not read: its status is ``too_large``."""
    allow: Locations = Field(default=[])
    """Prefixes below which data may name images: a path in a Parquet row, a local file in a remote manifest.

    HTTP hosts here may have private addresses.
    """
    slice_images: Annotated[int, Field(ge=1)] = 4096
    """Images in one shard of a folder or manifest."""
    decode: Literal["fast", "exact"] = "fast"
    """``exact`` is bit-identical to transformers' PIL image processor, ``fast`` within one level of it."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Only the first so many images, in listing order. Use an output of its own."""
    sample: Annotated[int, Field(ge=1)] | None = None
    """Only so many images drawn with ``seed``. Use an output of its own."""
    seed: int = 0
    """Which images ``sample`` draws."""
    part: str | None = None
    """``i/n``: this driver takes the i-th (1-based) of n shares of the shards; several drivers may fill one output."""

    @property
    def share(self) -> tuple[int, int]:
        """``part`` as (i, n); (1, 1) when it is not given."""
        if self.part is None:
            return 1, 1
        i, _, n = self.part.partition("/")
        return int(i), int(n)


class ViewsConfig(Section):
    """Several views of each image, for finer masks: tiles at a larger side, and the whole."""

    tiles: Literal["auto", 1, 2, 3, 4] = "auto"
    """Tiles a side, at most: 2 costs 10 encodes and decodes an image, 3 costs 26, 4 costs 50 (``overlap: 0.5``).

    No image is enlarged: one of fewer pixels than the tiles is cut into fewer, or seen as a whole. ``auto``: up to 3.
    """
    overlap: Annotated[float, Field(ge=0, le=0.75)] = 0.5
    """How much of a window its neighbour sees too, as a share of its side."""
    whole: bool = True
    """Whether every answer is the mean of the tiles' and the whole image's, or the tiles' alone."""
    for_: Literal["all", "found", "present"] = Field(default="all", alias="for")
    """Which queries of an image are decoded in tiles: all, or those above ``floor`` in the whole image.

    ``found``: by their score there; ``present``: by ``model.presence``. Others keep the whole's answer, and an image
    without any is not cut. Members of a group and rivals are decided together.
    """
    floor: Annotated[float, Field(gt=-1, lt=1)] | None = None
    """For ``for``: a probability (default 0.1), or a cosine, which has no default."""


class ModelConfig(Section):
    """Which CLIPSeg, and on what it computes."""

    checkpoint: Annotated[CheckpointName, Field(validate_default=True)] = "CIDAS/clipseg-rd64-refined"
    """A hub name, a directory written by ``save_pretrained`` (local or at any URL), or ``builtin:scenes``."""
    revision: str | None = None
    """Branch, tag or commit of a hub name; the run pins it to a commit."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """``auto``: bf16 on a GPU and on CPUs with AMX or AVX-512 BF16, else fp32; decided once per dataset."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto``: GPUs where the cluster has one when the run starts; give ``cuda`` where they come later."""
    compile: Literal["auto", "on", "off"] = "auto"
    """``torch.compile``: ``auto`` decides once per dataset, by whether the first run is long enough to repay it."""
    presence: bool = False
    """Also give CLIP's image-text similarity per (image, query): one column, and two transformer blocks an image."""
    views: ViewsConfig | None = None
    """Default: each image is seen once, as a whole."""

    @property
    def views_of_images(self) -> Views | None:
        """``views`` as reader and model take them; None where only the whole image is seen."""
        if self.views is None or self.views.tiles == 1:
            return None
        views = Views(tiles=self.views.tiles, overlap=self.views.overlap, whole=self.views.whole)
        if self.views.for_ == "all":
            return views
        return replace(views, only=self.views.for_, floor=FOUND if self.views.floor is None else self.views.floor)


class QueriesConfig(Section):
    """What is asked of every image."""

    table: Location | None = None
    """A CSV, TSV, Parquet, YAML or JSONL query table at any URL, prompts in a .txt, or ``builtin:<name>``.

    Default: ``builtin:affordances``; none where ``from`` is given.
    """
    where: str | None = None
    """A SQL condition over the table's columns, e.g. ``kind = 'affordance'``."""
    from_: str | None = Field(default=None, alias="from")
    """A sample field with the phrases of each image (a string or a list); may be given beside a table."""
    template: OneOrSeveral = Field(default=["plain"], min_length=1)
    """Template sets or templates for the phrases of ``from``; a table has its own column."""

    @model_validator(mode="before")
    @classmethod
    def _default_table(cls, values: Any) -> Any:
        asked = not isinstance(values, dict) or values.get("table") is not None or values.get("from") is not None
        return values if asked else {**values, "table": DEFAULT_TABLE}


class MasksConfig(Section):
    """What becomes of the logits."""

    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Probability above which a pixel belongs to the mask; a query's own threshold wins."""
    size: Literal["model", "image"] = "model"
    """The mask grid: the model's own, or each image's (logits interpolated bilinearly, then thresholded)."""
    keep_empty: bool = True
    """Whether an empty mask keeps its row ("absent" is an answer too)."""
    refine: Literal["guided"] | None = None
    """``guided``: borders follow those of the picture (the guided filter of He et al.); see docs/finer.md."""
    refine_radius: Annotated[int, Field(ge=4, le=64)] | None = None
    """How far it looks around a pixel, in pixels of the model's grid, in steps of four. Default: 8."""
    refine_epsilon: Annotated[float, Field(ge=1e-4, le=1)] | None = None
    """Contrast it takes for a border, as a variance of colours from 0 to 1: greater is smoother. Default: 3e-4."""
    heat: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Side of a small probability map kept with every mask, e.g. 88: thresholds can then be moved without a GPU."""

    @property
    def refinement(self) -> dict[str, Any]:
        """What the dataset's record says of it: nothing where masks are not refined."""
        if self.refine is None:
            return {}
        radius, epsilon = self.refine_radius or REFINE_RADIUS, self.refine_epsilon or REFINE_EPSILON
        return {"refine": {"filter": self.refine, "radius": radius, "epsilon": epsilon}}


class OutputConfig(Section):
    """Where the dataset goes."""

    url: Location
    """The folder, at any URL; an output that exists is added to."""


class PoolConfig(Section):
    """The actors that hold the model."""

    min: Annotated[int, Field(ge=1)] = 1
    """Actors that stay while the readers cannot feed more."""
    max: Annotated[int, Field(ge=1)] | None = None
    """Default: every GPU of the cluster, or every CPU where there is none; never more than there are chunks.

    On a cluster that grows: the most to ask for.
    """
    initial: Annotated[int, Field(ge=1)] | None = None
    """Default: ``max``."""
    gpus: Annotated[float, Field(ge=0)] | None = None
    """GPUs per actor. Default: 1 on a cluster with GPUs or with ``model.device: cuda``, else 0."""
    memory: ByteCount | None = None
    """Host memory to reserve per actor, e.g. ``8GiB``."""
    batch: Annotated[int, Field(ge=1)] | None = None
    """Images encoded at once. Default: measured for the device and precision."""
    wait_s: Annotated[float, Field(gt=0)] = 600.0
    """How long nothing may happen, no actor ready and nothing done, before the run ends saying what is missing."""


class PricesConfig(Section):
    """What nodes cost while they run; read by ``plan --measure`` only, and no part of the dataset."""

    gpu_node_hour: Annotated[float, Field(ge=0)] | None = None
    """One node with GPUs, an hour."""
    cpu_node_hour: Annotated[float, Field(ge=0)] | None = None
    """One worker without."""
    head_node_hour: Annotated[float, Field(ge=0)] = 0.0
    """The head, which is there all the while."""
    currency: str = "USD"
    """What the prices are in, as ``plan --measure`` prints it."""


class RunConfig(Settings):
    """Everything one run needs."""

    examples: ClassVar[Mapping[str, str]] = {"input": "input: {url: photos/}", "output": "output: {url: masks/}"}

    input: InputConfig
    output: OutputConfig
    model: ModelConfig = Field(default={}, validate_default=True)
    queries: QueriesConfig = QueriesConfig()
    masks: MasksConfig = MasksConfig()
    pool: PoolConfig = PoolConfig()
    prices: PricesConfig | None = None

    def faults(self) -> Iterator[str]:
        """What no single key shows."""
        pool, part = self.pool, self.input.part
        if part is not None:
            match = re.fullmatch(r"(\d+)/(\d+)", part)
            if match is None or not 1 <= int(match[1]) <= int(match[2]):
                yield f"input.part: write it as i/n with 1 ≤ i ≤ n, e.g. 1/4 (got {part!r})"
        yield from faults_of_finer(self.model, self.masks)
        if self.input.limit is not None and self.input.sample is not None:
            yield "input.limit, input.sample: give one of them, not both"
        if pool.max is not None and pool.min > pool.max:
            yield f"pool.min: {pool.min} is more than pool.max ({pool.max})"
        if pool.initial is not None and not pool.min <= pool.initial <= (pool.max or pool.initial):
            yield f"pool.initial: {pool.initial} is not between pool.min and pool.max"


def faults_of_finer(model: ModelConfig, masks: MasksConfig) -> Iterator[str]:
    """What is wrong with ``model.views`` and ``masks.refine`` that no single key shows."""
    for name in ("refine_radius", "refine_epsilon"):
        if masks.refine is None and getattr(masks, name) is not None:
            yield f"masks.{name}: of no use without masks.refine: guided; set that, or leave this out"
    views = model.views
    if views is None:
        return
    if views.for_ == "all" and views.floor is not None:
        yield "model.views.floor: of no use with model.views.for: all; set that, or leave this out"
    if views.for_ != "all" and not views.whole:
        yield "model.views.whole: queries that are not decoded in tiles have the whole's answer; set it to true"
    if views.for_ == "found" and views.floor is not None and views.floor <= 0:
        yield f"model.views.floor: {views.floor:g} is no probability that anything is below; try {FOUND:g}"
    if views.for_ == "present" and views.floor is None:
        yield "model.views.floor: give the cosine to be above, e.g. 0.2; it differs from model to model"
    if views.for_ == "present" and not model.presence:
        yield "model.views.for: present goes by model.presence; set that to true"


def load(path: str, overrides: Sequence[str] = ()) -> RunConfig:
    """``RunConfig.load``."""
    return RunConfig.load(path, overrides)


def parse(values: Mapping[str, Any], overrides: Sequence[str] = (), source: str = "configuration") -> RunConfig:
    """``RunConfig.parse``."""
    return RunConfig.parse(values, overrides, source=source)
