"""The run configuration: one model per concern, read from YAML, changed by dotted overrides, checked all at once.

config = load("configs/demo.yaml", ["masks.threshold=0.4", "pool.max=8"])
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeGuard
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from clipseg_ray import storage
from clipseg_ray.errors import UserError


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _byte_count(value: Any) -> Any:
    units = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([\d.]+)\s*([kmg]i?)?b?\s*", value.lower())
        if match is None:
            raise ValueError("write bytes as a number or like 8GiB, 500MB")
        return int(float(match[1]) * units[match[2] or ""])
    return value


DEFAULT_TABLE = "builtin:affordances"

ByteCount = Annotated[int, BeforeValidator(_byte_count)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputConfig(_Section):
    """Which images are read, and how they are cut."""

    url: Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]
    """URLs, folders or globs, one or several: ``s3://bucket/train-{0000..0099}.tar``, ``photos/``, ``*.parquet``."""
    format: Literal["webdataset", "parquet", "images", "manifest"] | None = None
    """Found from the names when not given."""
    image_field: str | None = None
    """The tar member extension, Parquet column or manifest column that holds the image (or its URL)."""
    id_field: str | None = None
    """A sample field to take as ``image_id``; it must be unique. Default: ``<shard path>/<key>``."""
    chunk_images: Annotated[int, Field(ge=1, le=4096)] = 256
    """Images in a chunk: the unit of work, retry and output file."""
    chunk_bytes: Annotated[ByteCount, Field(ge=1)] = 256 * 2**20
    """A chunk also closes once its encoded images reach this many bytes."""
    slice_images: Annotated[int, Field(ge=1)] = 4096
    """Images in one shard of a folder or manifest."""
    decode: Literal["fast", "exact"] = "fast"
    """``exact`` is bit-identical to transformers' PIL image processor, ``fast`` within one level of it."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Only the first so many images, in listing order. Use an output of its own."""
    sample: Annotated[int, Field(ge=1)] | None = None
    """Only so many images drawn with ``seed``. Use an output of its own."""
    seed: int = 0
    part: str | None = None
    """``i/n``: this driver takes the i-th (1-based) of n shares of the shards; several drivers may fill one output."""

    @property
    def share(self) -> tuple[int, int]:
        """``part`` as (i, n); (1, 1) when it is not given."""
        if self.part is None:
            return 1, 1
        i, _, n = self.part.partition("/")
        return int(i), int(n)


class ModelConfig(_Section):
    """Which CLIPSeg, and on what it computes."""

    checkpoint: str = "CIDAS/clipseg-rd64-refined"
    """A hub name, a local directory, or any URL of a directory written by ``save_pretrained``."""
    revision: str | None = None
    """Branch, tag or commit of a hub name; the run pins it to a commit."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    """``torch.compile``: ``auto`` decides once per dataset, by whether the first run is long enough to repay it."""
    presence: bool = False
    """Also give CLIP's image-text similarity per (image, query): one column, and two transformer blocks an image."""


class QueriesConfig(_Section):
    """What is asked of every image."""

    table: str | None = None
    """A CSV, Parquet, YAML or JSONL query table at any URL, or ``builtin:<name>``.

    Default: ``builtin:affordances``; none where ``from`` is given.
    """
    where: str | None = None
    """A SQL condition over the table's columns, e.g. ``kind = 'affordance'``."""
    from_: str | None = Field(default=None, alias="from")
    """A sample field with the phrases of each image (a string or a list); may be given beside a table."""
    template: Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)] = ["plain"]
    """Template sets or templates for the phrases of ``from``; a table has its own column."""


class MasksConfig(_Section):
    """What becomes of the logits."""

    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Probability above which a pixel belongs to the mask; a query's own threshold wins."""
    size: Literal["model", "image"] = "model"
    """The mask grid: the model's own, or each image's (logits interpolated bilinearly, then thresholded)."""
    keep_empty: bool = True
    """Whether an empty mask keeps its row ("absent" is an answer too)."""
    heat: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Side of a small probability map kept with every mask, e.g. 88: thresholds can then be moved without a GPU."""


class OutputConfig(_Section):
    """Where the dataset goes."""

    url: str


class PoolConfig(_Section):
    """The actors that hold the model."""

    min: Annotated[int, Field(ge=1)] = 1
    max: Annotated[int, Field(ge=1)] | None = None
    """Default: every GPU of the cluster, or every CPU where there is none; never more than there are chunks."""
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


class RunConfig(_Section):
    """Everything one run needs."""

    input: InputConfig
    output: OutputConfig
    model: ModelConfig = ModelConfig()
    queries: QueriesConfig = QueriesConfig()
    masks: MasksConfig = MasksConfig()
    pool: PoolConfig = PoolConfig()

    def resolved(self) -> dict[str, Any]:
        """The whole configuration as plain values, defaults filled in."""
        return self.model_dump(mode="json", by_alias=True)


def load(path: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML configuration at any URL and apply ``a.b=value`` overrides (values are YAML).

    Local paths become absolute (relative ones are relative to the working directory), so that they mean the same on
    every worker. Raises UserError naming every fault with its dotted path.
    """
    store, name = _parent(path)
    with storage.plain_errors(path):
        text = store.get(name).decode()
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(
            f"{path}: a configuration is a mapping of sections (input, output, …), not a {type(values).__name__}"
        )
    return parse(values, overrides, source=path)


def parse(values: Mapping[str, Any], overrides: Sequence[str] = (), source: str = "configuration") -> RunConfig:
    """Check a configuration given as nested mappings. Raises UserError naming every fault."""
    merged: dict[str, Any] = {key: dict(part) if isinstance(part, dict) else part for key, part in values.items()}
    for override in overrides:
        _apply(merged, override)
    faults = list(_unknown_keys(merged, RunConfig, ""))
    config: RunConfig | None = None
    try:
        config = RunConfig.model_validate(merged)
    except ValidationError as error:
        faults += [_fault(item) for item in error.errors() if item["type"] != "extra_forbidden"]
    if config is not None:
        faults += _cross_checks(config)
    if faults or config is None:
        raise UserError(f"{source}: {len(faults)} fault(s)\n" + "\n".join(f"  {fault}" for fault in faults))
    return _absolute(config)


def _parent(path: str) -> tuple[storage.Store, str]:
    folder, _, name = storage.absolute(path).rpartition("/")
    return storage.Store.of(folder or "/"), name


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"-s {override}: write it as section.key=value, e.g. -s masks.threshold=0.4")
    *sections, last = key.strip().split(".")
    place = values
    for depth, section in enumerate(sections):
        inner = place.setdefault(section, {})
        if not isinstance(inner, dict):
            raise UserError(f"-s {override}: {'.'.join(sections[: depth + 1])} is a value, not a section")
        place = inner
    try:
        place[last] = yaml.safe_load(text) if text else None
    except yaml.YAMLError as error:
        raise UserError(f"-s {override}: the value is not valid YAML: {' '.join(str(error).split())}") from error


def _unknown_keys(values: Mapping[str, Any], model: type[BaseModel], path: str) -> Iterator[str]:
    fields = _fields(model)
    for key, value in values.items():
        field = fields.get(key)
        if field is None:
            yield f"{path}{key}: unknown key{_nearest(f'{path}{key}')}"
        elif _is_section(field.annotation) and isinstance(value, Mapping):
            yield from _unknown_keys(value, field.annotation, f"{path}{key}.")


def _is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields by the name a user writes."""
    return {field.alias or key: field for key, field in model.model_fields.items()}


def _nearest(dotted: str) -> str:
    names = list(_dotted_names(RunConfig, ""))
    last = dotted.rpartition(".")[2]
    match = difflib.get_close_matches(dotted, names, n=1, cutoff=0.6) or [
        name for name in names if difflib.get_close_matches(last, [name.rpartition(".")[2]], cutoff=0.75)
    ]
    return f"; did you mean {match[0]}?" if match else f"; the sections are {', '.join(RunConfig.model_fields)}"


def _dotted_names(model: type[BaseModel], path: str) -> Iterator[str]:
    for key, field in _fields(model).items():
        yield f"{path}{key}"
        if _is_section(field.annotation):
            yield from _dotted_names(field.annotation, f"{path}{key}.")


def _fault(item: Any) -> str:
    path = ".".join(str(part) for part in item["loc"] if not str(part).startswith("function-"))
    if item["type"] == "missing":
        example = {"input": "input: {url: photos/}", "output": "output: {url: masks/}"}.get(path.split(".")[0], "")
        return f"{path}: required" + (f", e.g. {example}" if example else "")
    message = item["msg"].removeprefix("Value error, ")
    shown = repr(item["input"])
    hint = ""
    if item["type"] == "literal_error" and isinstance(item["input"], str):
        choices = re.findall(r"'([^']+)'", item["ctx"]["expected"])
        near = difflib.get_close_matches(item["input"], choices, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
    return f"{path}: {message[0].lower()}{message[1:]} (got {shown if len(shown) < 80 else shown[:77] + '…'}){hint}"


def _cross_checks(config: RunConfig) -> Iterator[str]:
    pool, part = config.pool, config.input.part
    if part is not None:
        match = re.fullmatch(r"(\d+)/(\d+)", part)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            yield f"input.part: write it as i/n with 1 ≤ i ≤ n, e.g. 1/4 (got {part!r})"
    if config.input.limit is not None and config.input.sample is not None:
        yield "input.limit, input.sample: give one of them, not both"
    if pool.max is not None and pool.min > pool.max:
        yield f"pool.min: {pool.min} is more than pool.max ({pool.max})"
    if pool.initial is not None and not pool.min <= pool.initial <= (pool.max or pool.initial):
        yield f"pool.initial: {pool.initial} is not between pool.min and pool.max"
    urls = [*(("input.url", url) for url in config.input.url), ("output.url", config.output.url)]
    urls += [("model.checkpoint", config.model.checkpoint), ("queries.table", config.queries.table or "")]
    for key, url in urls:
        if "@" in urlsplit(url).netloc or "x-amz-signature=" in url.lower():
            yield f"{key}: {url.split('://')[0]}://… holds credentials; give them in the environment instead"


def _absolute(config: RunConfig) -> RunConfig:
    def checkpoint_path(name: str) -> str:
        local = storage.absolute(name)
        return local if name.startswith((".", "/", "~")) or storage.Store(local).fs.isdir(local) else name

    table = config.queries.table
    if table is None and config.queries.from_ is None:
        table = DEFAULT_TABLE
    return config.model_copy(
        update={
            "input": config.input.model_copy(update={"url": [storage.absolute(url) for url in config.input.url]}),
            "output": config.output.model_copy(update={"url": storage.absolute(config.output.url)}),
            "queries": config.queries.model_copy(
                update={"table": table if table is None or table.startswith("builtin:") else storage.absolute(table)}
            ),
            "model": config.model.model_copy(
                update={"checkpoint": checkpoint_path(config.model.checkpoint)}
                if storage.protocol_of(config.model.checkpoint) == "file"
                else {}
            ),
        }
    )
