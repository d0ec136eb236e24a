"""What each step of a chunk costs by itself: samples of several shards, in one process, each step for a while.

The code that does the steps is the readers' and actors' own; only the stopwatch is from here. No Ray.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import torch

from clipseg_ray.errors import UserError
from clipseg_ray.inference.mask_rows import MaskRows
from clipseg_ray.model.block import Block
from clipseg_ray.pipeline.reader import Reader
from clipseg_ray.pipeline.row import ChunkRow
from clipseg_ray.pipeline.segmenter import ChunkResult, Segmenter
from clipseg_ray.pipeline.work import ShardWork
from clipseg_ray.results import layout
from clipseg_ray.sources.chunks import Chunk, ShardRecord
from clipseg_ray.storage import explain

STEPS = ("read", "decode", "model", "rle", "write")
PIECE_S = 2.0
"""How long the model should be busy with one piece of a chunk, where a whole chunk would take longer."""
_KEPT_BYTES = 256 * 2**20
"""Of encoded images, of pixels, and of blocks of masks that are kept for the next step."""


@dataclass
class Clock:
    """Wall and CPU seconds of one step, and the images it was given."""

    wall: float = 0.0
    cpu: float = 0.0
    images: int = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what is done inside."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.wall += time.perf_counter() - wall
            self.cpu += time.process_time() - cpu


@dataclass(frozen=True, kw_only=True)
class StepCosts:
    """What the steps cost one process that does nothing else.

    ``wall_s``, ``cpu_s``: seconds an image, by step; ``measured_s``: how long each step was measured. ``shards``,
    ``images``: how many different ones were read. ``images_a_byte``: images a byte of shards whose number of images
    nothing states (0 where every shard states it); ``encoded_bytes``: of an image. ``output_bytes``, ``masks``: of an
    image; ``nonempty``: share of masks with an area. ``undecodable``: share of images without masks. ``piece``: images
    the model takes about PIECE_S for, at most a chunk. ``decoded_bytes``: of an image, at most.
    """

    wall_s: dict[str, float]
    cpu_s: dict[str, float]
    measured_s: dict[str, float]
    shards: int
    images: int
    images_a_byte: float
    encoded_bytes: float
    output_bytes: float
    masks: float
    nonempty: float
    undecodable: float
    piece: int
    decoded_bytes: int


def measure(reader: Reader, segmenter: Segmenter, works: Sequence[ShardWork], seconds: float) -> StepCosts:
    """Every step for at least ``seconds``, on what is read from ``works`` in turn; parts go where the segmenter puts.

    Raises UserError where the samples cannot be read or none of them can be decoded.
    """
    clocks = {step: Clock() for step in STEPS}
    sampled = _read(reader, works, seconds, clocks["read"])
    rows = _decode(reader, sampled, seconds, clocks["decode"])
    model = _ModelStep(segmenter, rows, max(reader.chunking(work.shard).images for work in works))
    pieces = model.run(seconds, clocks["model"])
    tables = _encode(pieces, segmenter.spec.keep_empty, seconds, clocks["rle"])
    output_bytes = model.write(pieces, tables, seconds, clocks["write"])
    samples = [sample for _, chunk in sampled.kept for sample in chunk.samples]
    good = sum(len(row.pixels) for row in rows) / sum(row.images.num_rows for row in rows)
    share = {"read": 1.0, "decode": 1.0, "model": good, "rle": good, "write": good}
    every = [table for of_set in tables for table in of_set]
    masks = sum(table.num_rows for table in every)
    return StepCosts(
        wall_s={step: share[step] * clock.wall / clock.images for step, clock in clocks.items()},
        cpu_s={step: share[step] * clock.cpu / clock.images for step, clock in clocks.items()},
        measured_s={step: clock.wall for step, clock in clocks.items()},
        shards=len({work.shard.shard_id for work, _ in sampled.kept}),
        images=sampled.images,
        images_a_byte=sampled.images_a_byte,
        encoded_bytes=sum(len(sample.image or b"") for sample in samples) / len(samples),
        output_bytes=good * output_bytes / clocks["write"].images,
        masks=good * masks / sum(len(piece.row.pixels) for piece in pieces),
        nonempty=sum(pc.sum(pc.greater(table.column("area"), 0)).as_py() or 0 for table in every) / max(1, masks),
        undecodable=1 - good,
        piece=model.piece,
        decoded_bytes=reader.decoded_bytes,
    )


@dataclass
class _Sampled:
    """``kept``: chunks for the next step; ``images``: how many different ones were read, these included."""

    kept: list[tuple[ShardWork, Chunk]] = field(default_factory=list)
    images: int = 0
    images_a_byte: float = 0.0


def _read(reader: Reader, works: Sequence[ShardWork], seconds: float, clock: Clock) -> _Sampled:
    found = _Sampled()
    size = images = kept = 0
    for turn in itertools.count():
        for work in works:
            chunks, record = _read_one(reader, work, clock, clock.wall + seconds / len(works))
            if turn:
                continue
            samples = [sample for chunk in chunks for sample in chunk.samples]
            found.images += len(samples)
            if work.shard.members is None and work.shard.take is None and any(sample.image for sample in samples):
                size += work.shard.size
                images += record.samples if record else reader.source.estimate(work.shard, samples)
            for chunk in chunks:
                if kept < _KEPT_BYTES:
                    found.kept.append((work, chunk))
                    kept += sum(len(sample.image or b"") for sample in chunk.samples)
        if not found.kept:
            raise UserError(f"{works[0].shard.path}: no image in the shards that were sampled; check input.url")
        if clock.wall >= seconds:
            break
    found.images_a_byte = images / size if size else 0.0
    return found


def _read_one(reader: Reader, work: ShardWork, clock: Clock, until: float) -> tuple[list[Chunk], ShardRecord | None]:
    """Chunks from the shard's beginning until the clock shows ``until``, at least one; its record if that was all."""
    chunks: list[Chunk] = []
    try:
        with closing(cast(Any, reader.chunks(work))) as stream:
            while not chunks or clock.wall < until:
                with clock.running():
                    item = next(stream, None)
                if not isinstance(item, Chunk):
                    return chunks, item
                clock.images += len(item.samples)
                chunks.append(item)
    except UserError:
        raise
    except Exception as error:
        url = reader.source.url_of(work.shard.path)
        raise explain(error, url) or UserError(f"{url}: {type(error).__name__}: {error}") from error
    return chunks, None


def _decode(reader: Reader, sampled: _Sampled, seconds: float, clock: Clock) -> list[ChunkRow]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a reader, which has one core
    rows: list[ChunkRow] = []
    kept = 0
    for turn in itertools.count():
        for work, chunk in sampled.kept:
            with clock.running():
                row = reader.row(work, chunk, time.perf_counter())
            clock.images += len(chunk.samples)
            if turn == 0 and kept < _KEPT_BYTES:
                rows.append(row)
                kept += row.pixels.nbytes
            if clock.wall >= seconds and any(len(row.pixels) for row in rows):
                torch.set_num_threads(threads)
                return rows
        if not any(len(row.pixels) for row in rows):
            errors = [error for row in rows for error in row.images.column("error").to_pylist() if error]
            raise UserError(f"none of {sampled.images} sampled images can be decoded: {errors[0]}")
    raise AssertionError("itertools.count ends")


@dataclass
class _Piece:
    """Some images of a chunk, and what the model made of them, by set."""

    row: ChunkRow
    made: list[tuple[MaskRows, list[Block]]]

    @property
    def nbytes(self) -> int:
        return sum(block.nbytes for _, blocks in self.made for block in blocks)


class _ModelStep:
    """The model's step, and writing what came of it."""

    def __init__(self, segmenter: Segmenter, rows: Sequence[ChunkRow], chunk_images: int) -> None:
        self._segmenter = segmenter
        self._rows = rows
        self._chunk_images = chunk_images
        folders = rows[0].folders
        self._wanted = [one for one in segmenter.spec.prompt_sets if layout.masks_folder(one.name) in folders]
        self.piece = self._fitting(min(chunk_images, segmenter.spec.compute["batch"]))

    def run(self, seconds: float, clock: Clock) -> list[_Piece]:
        """Different pieces for the next step, after the clock has run for ``seconds``."""
        pieces: list[_Piece] = []
        kept = 0
        for turn in itertools.count():
            for row in self._pieces(self.piece):
                with clock.running():
                    made = self._pass(row, keep=turn == 0 and kept < _KEPT_BYTES)
                clock.images += len(row.pixels)
                if made is not None:
                    pieces.append(made)
                    kept += made.nbytes
                if clock.wall >= seconds:
                    return pieces
        raise AssertionError("itertools.count ends")

    def write(
        self, pieces: Sequence[_Piece], tables: Sequence[Sequence[pa.Table]], seconds: float, clock: Clock
    ) -> int:
        """Put parts of whole chunks, or of all there is where that is less; how many bytes were put."""
        count = max(1, min(len(pieces), self._chunk_images // self.piece))
        images = pa.concat_tables([piece.row.images for piece in pieces[:count]])
        joined = [pa.concat_tables(of_set[:count]) for of_set in tables]
        row = replace(pieces[0].row, images=images)
        self._segmenter.put(
            row, self._wanted, joined, ChunkResult(shard=row.shard, chunk=row.chunk)
        )  # opens connections
        written = 0
        for chunk in itertools.count(row.chunk + 1):  # each put where none is, as in a run
            result = ChunkResult(shard=row.shard, chunk=chunk)
            with clock.running():
                self._segmenter.put(replace(row, chunk=chunk), self._wanted, joined, result)
            clock.images += images.num_rows
            written += result.bytes
            if clock.wall >= seconds:
                break
        return written

    def _fitting(self, batch: int) -> int:
        """Images in a piece: whole batches, by what one takes once everything is compiled."""
        row = next(self._pieces(batch))
        for _ in range(2):
            trial = Clock()
            with trial.running():
                made = self._pass(row, keep=True)
            assert made is not None
            _encode([made], True, 0.0, Clock())
        fits = int(len(row.pixels) * PIECE_S / max(trial.wall, 1e-6))
        return min(self._chunk_images, max(batch, fits - fits % batch))

    def _pieces(self, size: int) -> Iterator[ChunkRow]:
        """The decodable images of every row, at most ``size`` at a time."""
        for row in self._rows:
            images = row.images.filter(pc.equal(row.images.column("status"), "ok"))
            for start in range(0, images.num_rows, size):
                stop = start + size
                yield replace(
                    row,
                    images=images.slice(start, size),
                    pixels=row.pixels[start:stop],
                    phrases=row.phrases[start:stop],
                )

    def _pass(self, row: ChunkRow, keep: bool) -> _Piece | None:
        passes = self._segmenter.passes(row, self._wanted) if self._wanted else ()
        made = [(rows, [block for block in blocks if keep]) for rows, blocks in passes]
        return _Piece(row, made) if keep else None


def _encode(pieces: Sequence[_Piece], keep_empty: bool, seconds: float, clock: Clock) -> list[list[pa.Table]]:
    """The pieces' tables, by set, after the clock has run for ``seconds``."""
    tables: list[list[pa.Table]] = [[] for _ in pieces[0].made]
    for turn in itertools.count():
        for piece in pieces:
            with clock.running():
                encoded = []
                for rows, blocks in piece.made:
                    fresh = rows.anew()
                    for block in blocks:
                        fresh.add(block)
                    encoded.append(fresh.table(keep_empty))
            clock.images += len(piece.row.pixels)
            if turn == 0:
                for of_set, table in zip(tables, encoded, strict=True):
                    of_set.append(table)
        if clock.wall >= seconds:
            return tables
    raise AssertionError("itertools.count ends")
