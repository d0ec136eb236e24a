"""What is evaluated on which truth, and the rows of the table it gives.

config = EvaluateConfig.load("configs/evaluate-scenes.yaml", ["model.checkpoint=checkpoints/small"])
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from clipseg_ray.evaluation.counts import index_of
from clipseg_ray.evaluation.splits import expanded
from clipseg_ray.queries.modes import DEFAULT_MODE, parse_mode
from clipseg_ray.queries.templates import resolve_templates
from clipseg_ray.settings import CheckpointName, Location, Locations, OneOrSeveral, Section, Settings


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


class RowConfig(Section):
    """One row of the table: some queries, asked in one way, pooled."""

    name: str
    """What the table calls it."""
    truth: str = "test"
    """The truth set, by its name under ``truth``. Default: the only one; of several, ``test``."""
    protocol: Literal["text", "picture", "hybrid", "table", "argmax"] = "text"
    """``table``: the queries of a query table that have a ``concept``; the truth is the union over its categories.
    ``argmax``: a table that is one group (``configs/pascal-voc.csv``): each pixel goes to one class, without
    thresholds."""
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
    texts: Literal["first", "all", "paper"] = "first"
    """Wordings: each query's first; each of them, counted alike; those that are CLIPSeg's generalised queries."""
    template: OneOrSeveral = Field(default=["plain"], min_length=1)
    """Template sets or templates that wordings are put into."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The support picture's share in a hybrid."""
    table: Location | None = None
    """For ``protocol: table`` and ``argmax``: a query table at any URL, or ``builtin:<name>``."""


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
        if self.tune is not None and self.threshold is not None:
            yield "tune, threshold: give one of them, not both"
        if self.threshold is not None:
            try:
                index_of(self.threshold)
            except ValueError as error:
                yield f"threshold: {error}"
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
