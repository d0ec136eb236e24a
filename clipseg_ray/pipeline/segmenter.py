"""Second step of a chunk, in an actor that holds the model: pixels → masks → parts, one small result back."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from clipseg_ray.errors import UserError
from clipseg_ray.inference.mask_rows import MaskRows
from clipseg_ray.pipeline.row import ChunkRow
from clipseg_ray.pixels.preprocessing import Preprocessing
from clipseg_ray.pixels.views import Views
from clipseg_ray.queries.phrase_set import PhraseSet
from clipseg_ray.queries.phrases import PhraseEmbedder
from clipseg_ray.queries.prompt_set import PromptSet
from clipseg_ray.queries.set_questions import SetQuestions
from clipseg_ray.redaction import redacted
from clipseg_ray.results import layout, parts
from clipseg_ray.storage import Store, explain

if TYPE_CHECKING:
    from clipseg_ray.model.block import Block


@dataclass(frozen=True, kw_only=True)
class SegmenterSpec:
    """All an actor needs to start: the model to load, how to compute, what to ask, where to write.

    ``compute`` is the dataset record's section; an actor that cannot honour it refuses. ``optional``: the settings of
    the optional columns, by name. ``refine``: the record's, or None. ``facts`` go into every part's file metadata.
    """

    output: str
    checkpoint: str
    revision: str | None
    weights_sha256: str
    preprocessing: Preprocessing
    views: Views | None = None
    compute: dict[str, Any]
    mask_size: str
    keep_empty: bool
    optional: Mapping[str, Any]
    refine: Mapping[str, Any] | None
    prompt_sets: tuple[PromptSet | PhraseSet, ...]
    facts: dict[str, Any]


@dataclass(kw_only=True)
class ChunkResult:
    """What the driver learns of a chunk.

    ``statuses`` counts images by status, ``encoded`` sums their bytes as they were read, ``phrases`` counts those that
    came with images; ``masks`` counts rows written, ``nonempty`` those with an area; ``bytes`` is what was put;
    ``seconds`` by step (read, decode, model, rle, write); ``cut``: phrases that CLIP cannot read to their end, with
    their tokens; ``failure`` says why there is no part; ``conflict``: because another run has put one with other rows;
    ``hosts_gone``: because some of its images cannot be had, though the network is there.
    """

    shard: str
    chunk: int
    images: int = 0
    encoded: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    phrases: int = 0
    masks: int = 0
    nonempty: int = 0
    bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    worker: str = ""
    failure: str | None = None
    conflict: bool = False
    hosts_gone: bool = False

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ChunkResult:
        """The inverse of ``to_json``."""
        return cls(**json.loads(text))


class Segmenter:
    """Holds one model; called with one chunk at a time, by two threads at once.

    The model runs under a lock: while one call computes, the other sorts, compresses and writes its parts.
    """

    def __init__(self, spec: SegmenterSpec) -> None:
        from clipseg_ray.masks.guided import GuidedFilter
        from clipseg_ray.model import checkpoint, factory
        from clipseg_ray.model.engine import Engine

        # Pixels are views of Ray's object store, which cannot be written to; nothing here writes to them.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        if spec.compute["device"] == "cpu":
            torch.set_num_threads(1)
        elif not torch.cuda.is_available():
            raise UserError("the dataset was made on CUDA and this actor sees no GPU; check pool.gpus")
        loaded = checkpoint.load(spec.checkpoint, spec.revision)
        if loaded.weights_sha256 != spec.weights_sha256:
            raise UserError(
                f"model.checkpoint: the weights at {spec.checkpoint} are not those of the dataset "
                f"(sha256 {loaded.weights_sha256[:12]}…, dataset {spec.weights_sha256[:12]}…)"
            )
        self.spec = spec
        self.store = Store.of(spec.output)
        model = factory.make_model(
            replace(loaded, preprocessing=spec.preprocessing),
            device=spec.compute["device"],
            precision=spec.compute["precision"],
            compile=spec.compute["compile"],
            batch=spec.compute["batch"],
            decode_chunk=spec.compute["decode_chunk"],
            columns=spec.optional,
        )
        self.engine = Engine(model, spec.optional, GuidedFilter.of(spec.refine), spec.views)
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self._lock = threading.Lock()
        self._embedders = {
            prompt_set.name: PhraseEmbedder(loaded, prompt_set)
            for prompt_set in spec.prompt_sets
            if isinstance(prompt_set, PhraseSet)
        }
        self._questions: dict[str, SetQuestions] = {}

    def __call__(self, batch: pa.Table) -> pa.Table:
        """One row in (see ``row.ChunkRow``), one row out: column ``result``, a ``ChunkResult`` as JSON."""
        if self.spec.compute["device"] == "cpu":
            torch.set_num_threads(1)  # the setting is each thread's own, and Ray calls from several
        row = ChunkRow.from_arrow(batch, self.spec.preprocessing.size)
        result = ChunkResult(
            shard=row.shard, chunk=row.chunk, worker=self.worker, failure=row.failure, hosts_gone=row.hosts_gone
        )
        if row.failure is None:
            try:
                self.process(row, result)
            except Exception as error:
                _leave_if_the_device_is_lost(error)
                explained = error if isinstance(error, UserError) else explain(error, self.spec.output)
                result.conflict = isinstance(error, parts.Occupied)
                result.failure = redacted(str(explained or f"{type(error).__name__}: {error}"))
        return pa.table({"result": [result.to_json()]})

    def process(self, row: ChunkRow, result: ChunkResult) -> None:
        """Compute and put every part the chunk lacks: images first, then each set's masks."""
        result.images = row.images.num_rows
        result.encoded = pc.sum(row.images.column("length")).as_py() or 0
        result.statuses = dict(Counter(row.images.column("status").to_pylist()))
        result.phrases = sum(map(len, row.phrases))
        result.seconds = {"read": row.read_s, "decode": row.decode_s, "model": 0.0, "rle": 0.0, "write": 0.0}
        wanted = tuple(
            prompt_set for prompt_set in self.spec.prompt_sets if layout.masks_folder(prompt_set.name) in row.folders
        )
        tables = self._masks(row, wanted, result) if wanted else []
        for embedder in self._embedders.values():
            result.cut |= embedder.cut(text for own in row.phrases for text in own)
        started = time.perf_counter()
        self.put(row, wanted, tables, result)
        result.seconds["write"] = time.perf_counter() - started

    def put(
        self,
        row: ChunkRow,
        wanted: Sequence[PromptSet | PhraseSet],
        tables: Sequence[pa.Table],
        result: ChunkResult,
    ) -> None:
        """Put a chunk's parts: images first, then the table of each set. Raises ``parts.Occupied``."""
        name = layout.part_name(row.shard, row.chunk)
        images_hash = parts.hash_of_images(row.images)
        facts = {**self.spec.facts, "shard": row.shard, "chunk": row.chunk, parts.IMAGES_HASH: images_hash}
        if layout.IMAGES in row.folders:
            self._put(f"{layout.IMAGES}/{name}", parts.images_bytes(row.images, facts), result)
        for prompt_set, table in zip(wanted, tables, strict=True):
            result.masks += table.num_rows
            result.nonempty += pc.sum(pc.greater(table.column("area"), 0)).as_py() or 0
            body = parts.masks_bytes(table, {**facts, "prompt_set": prompt_set.name})
            self._put(f"{layout.masks_folder(prompt_set.name)}/{name}", body, result)

    def _put(self, path: str, body: bytes, result: ChunkResult) -> None:
        parts.put(self.store, path, body)
        result.bytes += len(body)

    def _masks(self, row: ChunkRow, wanted: Sequence[PromptSet | PhraseSet], result: ChunkResult) -> list[pa.Table]:
        tables = []
        with self._lock:
            started = time.perf_counter()
            for rows, blocks in self.passes(row, wanted):
                for block in blocks:
                    result.seconds["model"] += time.perf_counter() - started
                    started = time.perf_counter()
                    rows.add(block)
                    result.seconds["rle"] += time.perf_counter() - started
                    started = time.perf_counter()
                tables.append(rows.table(self.spec.keep_empty))
            result.seconds["model"] += time.perf_counter() - started
        return tables

    def passes(
        self, row: ChunkRow, wanted: Sequence[PromptSet | PhraseSet]
    ) -> Iterator[tuple[MaskRows, Iterator[Block]]]:
        """For each set the rows to fill and the model's blocks to fill them with.

        Each set is decoded by itself, so that its numbers do not depend on which others are wanted in the same pass;
        the images are encoded once for all of them.
        """
        at_image_size = self.spec.mask_size == "image"
        images = row.images.filter(pc.equal(row.images.column("status"), "ok"))
        encoded: Any = row.pixels
        if len(encoded) and (len(wanted) > 1 or isinstance(wanted[0], PhraseSet)):
            encoded = self.engine.encode(row.pixels)
        for prompt_set in wanted:
            asked = self._questions_of(prompt_set, row)
            yield (
                MaskRows(images, asked, at_image_size=at_image_size, optional=self.spec.optional),
                self.engine.segment(
                    encoded,
                    asked.prompts,
                    asked.threshold_logits_q,
                    asked.pairs if asked.competition is None else None,
                    competition=asked.competition,
                    want_logits=at_image_size,
                ),
            )

    def _questions_of(self, prompt_set: PromptSet | PhraseSet, row: ChunkRow) -> SetQuestions:
        """What a set asks of these images; without phrases its prompts are the same for every chunk, so it is kept."""
        if isinstance(prompt_set, PhraseSet):
            embedder = self._embedders[prompt_set.name]
            return SetQuestions.of_phrases(prompt_set, row.phrases, embedder.embed, self.engine.embed)
        if prompt_set.name not in self._questions:
            self._questions[prompt_set.name] = SetQuestions.of_queries(prompt_set, self.engine.embed)
        every = self._questions[prompt_set.name]
        return every if row.asked is None else every.only(row.asked)


def _leave_if_the_device_is_lost(error: Exception) -> None:
    """A CUDA context that has faulted answers every later call with the same fault: only a new process helps.

    A shortage of memory is no fault, even where CUDA reports it and not PyTorch's allocator.
    """
    from clipseg_ray.model.headroom import is_short_of_memory

    if is_short_of_memory(error):
        return
    if "AcceleratorError" in type(error).__name__ or "CUDA error" in str(error):
        os._exit(1)
