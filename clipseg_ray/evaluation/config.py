"""What is evaluated on which truth, and the rows of the table it gives.

config = EvaluateConfig.load("configs/evaluate-scenes.yaml", ["model.checkpoint=checkpoints/small"])
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from clipseg_ray.config import MasksConfig, ModelConfig, ViewsConfig, faults_of_finer
from clipseg_ray.errors import meant
from clipseg_ray.evaluation.counts import index_of
from clipseg_ray.evaluation.splits import expanded
from clipseg_ray.queries.modes import DEFAULT_MODE, parse_mode
from clipseg_ray.queries.templates import resolve_templates
from clipseg_ray.settings import CheckpointName, Location, Locations, OneOrSeveral, Section, Settings

WITHOUT_THRESHOLD = ("argmax", "clip")
"""Protocols that decide or measure something else than pixels above a threshold."""


class EvaluatedModel(Section):
    """A model to be scored: its probabilities, at thresholds chosen for it."""

    checkpoint: CheckpointName
    """A hub name, a local directory, or any URL of a directory written by ``save_pretrained``."""
    revision: str | None = None
    """Branch, tag or commit of a hub name."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """As in a run."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """As in a run."""
    views: ViewsConfig | None = None
    """As in a run: several views of each image."""
    refine: Literal["guided"] | None = None
    """A run's ``masks.refine``: borders follow those of the picture."""
    refine_radius: Annotated[int, Field(ge=4, le=64)] | None = None
    """A run's ``masks.refine_radius``."""
    refine_epsilon: Annotated[float, Field(ge=1e-4, le=1)] | None = None
    """A run's ``masks.refine_epsilon``."""

    @property
    def refinement(self) -> dict[str, Any]:
        """What a run has under ``masks``."""
        return {name: getattr(self, name) for name in ("refine", "refine_radius", "refine_epsilon")}


class EvaluatedMasks(Section):
    """A dataset of masks to be scored as it is: its masks at the run's own thresholds."""

    url: Location
    """What a run wrote (its ``output.url``)."""
    match: Literal["id", "concept"] = "id"
    """A query's truth: ``id``, that of the same query_id; ``concept``, the union over its concept's categories."""
    queries: dict[str, str] = Field(default={})
    """With ``match: id``: query_id in the dataset → query_id in the truth, where they differ."""


class SupportsConfig(Section):
    """Where picture prompts come from."""

    truth: str
    """The truth set whose images and masks they are. No image is a support for itself."""
    shots: Annotated[int, Field(ge=1)] = 1
    """Supports of one question; their embeddings are averaged."""
    pool: Annotated[int, Field(ge=1)] = 10
    """Candidates drawn for each query, from which each question draws its own."""
    smallest: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Least share of its image that a support's mask covers. One in a hundred is about PFENet's limit."""
    mode: str = DEFAULT_MODE
    """How a support picture and its mask become one."""
    seed: int = 0
    """Of what is drawn."""
    number: Annotated[int, Field(ge=1)] = 1000
    """Episodes of a row that draws them by class, and pictures of ``protocol: clip``."""
    drawn: Location | None = None
    """Episodes that another evaluation drew (its ``evaluation-episodes.jsonl``), asked again instead of others."""


class RowConfig(Section):
    """One row of the table: some queries, asked in one way, pooled."""

    name: str
    """What the table calls it."""
    truth: str = "test"
    """The truth set, by its name under ``truth``. Default: the only one; of several, ``test``."""
    protocol: Literal["text", "picture", "hybrid", "table", "argmax", "clip"] = "text"
    """``table``: the queries of a query table that have a ``concept``; the truth is the union over its categories.
    ``argmax``: a table that is one group (``configs/pascal-voc.csv``): each pixel goes to one class, without
    thresholds. ``clip``: no masks, but how likely CLIP finds a thing's name among those of all things in the picture,
    once ``mode`` has made one of picture and mask."""
    kinds: Annotated[OneOrSeveral, Field(min_length=1)] | None = None
    """Only queries of these kinds. Default: all."""
    queries: Annotated[OneOrSeveral, AfterValidator(expanded), Field(min_length=1)] | None = None
    """Only these query_ids, or those of a published split (``pascal-5i/0``, see ``splits``); with ``tune``, thresholds
    are still those of all queries of their kinds."""
    unseen: Annotated[OneOrSeveral, AfterValidator(expanded), Field(min_length=1)] | None = None
    """These query_ids, or those of a published split, were not seen in training: mIoU of them, of the others, and the
    harmonic mean of both."""
    pictures: Literal["all", "present"] = "all"
    """``all``: every image of which it is known whether it has the thing; ``present``: only those that have it, as
    one-shot protocols and PhraseCut do."""
    episodes: Literal["images", "classes"] | None = None
    """Ask only what is drawn: ``images``, each image that has some of the row's queries for one of them (Pascal-5i);
    ``classes``, ``supports.number`` times a query and an image that has it (COCO-20i). By text, picture or hybrid."""
    tune_on: Annotated[OneOrSeveral, Field(min_length=1)] | None = None
    """Names of rows, such as those of the other folds: the threshold of each kind is the one that is best for them
    together."""
    texts: Literal["first", "all", "paper"] = "first"
    """Wordings: each query's first; each of them, counted alike; those that are CLIPSeg's generalised queries."""
    template: OneOrSeveral = Field(default=["plain"], min_length=1)
    """Template sets or templates that wordings are put into."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The support picture's share in a hybrid."""
    table: Location | None = None
    """For ``protocol: table`` and ``argmax``: a query table at any URL, or ``builtin:<name>``."""
    mode: str | None = None
    """For ``protocol: clip``: how picture and mask become one."""


class EvaluationOutputConfig(Section):
    """Where the tables go."""

    url: Location
    """The folder, at any URL."""


class EvaluationWorkersConfig(Section):
    """How many shards are scored at once."""

    max: Annotated[int, Field(ge=1)] | None = None
    """Default: every GPU of the cluster, or every CPU where there is none."""


class EvaluateConfig(Settings):
    """Everything one evaluation needs: a model or a masks dataset, truth, rows."""

    examples: ClassVar[Mapping[str, str]] = {
        "truth": "truth: scenes/test/",
        "rows": "rows: [{name: objects, kinds: [object]}]",
        "output": "output: {url: evaluation/}",
    }

    truth: Annotated[dict[str, Annotated[Locations, Field(min_length=1)]], Field(min_length=1)]
    """Truth shards by name: URLs, folders or globs. One set alone needs no name: ``truth: scenes/test/``."""
    rows: Annotated[list[RowConfig], Field(min_length=1)]
    output: EvaluationOutputConfig
    model: EvaluatedModel | None = None
    masks: EvaluatedMasks | None = None
    tune: str | None = None
    """The truth set on which each kind's threshold is chosen. Default: the set that is measured (and the table says
    so)."""
    threshold: float | None = None
    """One threshold for all instead: 0.02, 0.04, … 0.98."""
    also_at: list[float] = Field(default=[])
    """Thresholds at which every row is measured besides, side by side in a table of their own."""
    label_size: Annotated[int, Field(ge=1)] | None = None
    """Truth is resized to so many pixels on each side, by nearest neighbour, as CLIPSeg's authors do (352). Default:
    each image's own size."""
    supports: SupportsConfig | None = None
    workers: EvaluationWorkersConfig = EvaluationWorkersConfig()

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        """A set without a name is given one; where there is one alone, rows need not say which."""
        if not isinstance(values, dict) or "truth" not in values:
            return values
        truth = values["truth"] if isinstance(values["truth"], dict) else {"test": values["truth"]}
        rows = values.get("rows")
        if len(truth) == 1 and isinstance(rows, list):
            rows = [{"truth": next(iter(truth)), **row} if isinstance(row, dict) else row for row in rows]
        return {**values, "truth": truth, "rows": rows} if "rows" in values else {**values, "truth": truth}

    def faults(self) -> Iterator[str]:
        """What no single key shows."""
        if (self.model is None) == (self.masks is None):
            yield "model, masks: give one of them: a model to be scored, or a dataset of masks"
        if self.model is not None:
            model, masks = (ModelConfig(views=self.model.views, presence=True), MasksConfig(**self.model.refinement))
            yield from (fault.replace("masks.refine", "model.refine") for fault in faults_of_finer(model, masks))
        if self.tune is not None and self.threshold is not None:
            yield "tune, threshold: give one of them, not both"
        fixed = [] if self.threshold is None else [("threshold", self.threshold)]
        for key, value in [*fixed, *((f"also_at.{place}", value) for place, value in enumerate(self.also_at))]:
            try:
                index_of(value)
            except ValueError as error:
                yield f"{key}: {error}"
        if self.masks is not None:
            for key in ("also_at", "label_size"):
                if getattr(self, key):
                    yield f"{key}: masks are as the run gave them, at its thresholds; leave it out"
        sets = [("tune", self.tune), ("supports.truth", self.supports and self.supports.truth)]
        sets += [(f"rows.{index}.truth", row.truth) for index, row in enumerate(self.rows)]
        for key, name in sets:
            if name is not None and name not in self.truth:
                yield f"{key}: truth has no set {name!r}; it has {', '.join(self.truth)}"
        names = [row.name for row in self.rows]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"rows: {name!r} is the name of several; give each its own"
        if self.supports is not None:
            try:
                parse_mode(self.supports.mode)
            except ValueError as error:
                yield f"supports.mode: {error}"
        for index, row in enumerate(self.rows):
            yield from self._row_faults(f"rows.{index}", row)
            yield from self._drawing_faults(f"rows.{index}", row)

    def _row_faults(self, key: str, row: RowConfig) -> Iterator[str]:
        if self.masks is not None and row.protocol != "text":
            yield f"{key}.protocol: a dataset of masks was asked once and for all; leave it out"
        if row.protocol in ("picture", "hybrid") and self.supports is None:
            yield f"{key}.protocol: {row.protocol} needs support pictures, e.g. supports: {{truth: tune}}"
        if (row.protocol in ("table", "argmax")) != (row.table is not None):
            yield f"{key}.table: goes with protocol: table or argmax, and only with these"
        if row.protocol == "argmax" and row.pictures != "all":
            yield f"{key}.pictures: every image has a winner at each pixel, so argmax asks all; leave it out"
        try:
            resolve_templates(row.template)
        except ValueError as error:
            yield f"{key}.template: {error}"

    def _drawing_faults(self, key: str, row: RowConfig) -> Iterator[str]:
        """What is wrong with what a row draws, and with the rows it takes thresholds from."""
        if (row.protocol == "clip") != (row.mode is not None):
            yield f"{key}.mode: goes with protocol: clip, and only with it"
        if row.mode is not None:
            try:
                parse_mode(row.mode)
            except ValueError as error:
                yield f"{key}.mode: {error}"
        if (row.episodes is not None or row.protocol == "clip") and self.supports is None:
            yield f"{key}: what is drawn needs a seed and a truth set to draw from, e.g. supports: {{truth: test}}"
        if row.episodes is not None and row.protocol not in ("text", "picture", "hybrid"):
            yield f"{key}.episodes: goes with protocol: text, picture or hybrid"
        if row.episodes is not None and row.pictures != "present":
            yield f"{key}.pictures: an episode is of an image that has the thing; set pictures: present"
        by_name = {each.name: each for each in self.rows}
        for name in row.tune_on or ():
            if name not in by_name:
                yield f"{key}.tune_on: {name!r} is the name of no row; {meant(name, by_name, '{!r}')}"
            elif name == row.name:
                yield f"{key}.tune_on: a row that chooses its own threshold flatters; name others"
            elif by_name[name].protocol in WITHOUT_THRESHOLD:
                yield f"{key}.tune_on: {name!r} has no threshold"
        if row.tune_on is not None and (self.threshold is not None or self.masks is not None):
            yield f"{key}.tune_on: thresholds are given; leave it out"
        if row.tune_on is not None and row.protocol in WITHOUT_THRESHOLD:
            yield f"{key}.tune_on: protocol {row.protocol} has no threshold; leave it out"
