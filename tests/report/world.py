"""Small output datasets written by hand, so that every mask, score and failure in them is known."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from clipseg_ray.masks.rle import encode_bits
from clipseg_ray.queries.phrase_set import PhraseSet, phrase_id
from clipseg_ray.queries.phrases import to_table
from clipseg_ray.queries.prompt_set import PromptSet
from clipseg_ray.queries.query import Query
from clipseg_ray.results import inputs, layout, optional_columns, parts, record, runs, schema, sets
from clipseg_ray.results import shard_records as shard_records
from clipseg_ray.sources.base import Member, Shard
from clipseg_ray.sources.chunks import ChunkRecord, ShardRecord
from clipseg_ray.storage import Store
from tests.tars import tar_of

GRID = 48


def query(query_id: str, text: str = "", kind: str = "object", threshold: float = 0.5, **more: Any) -> Query:
    """A text query."""
    return Query(
        query_id=query_id, kind=kind, texts=(text or f"a {query_id}",), templates=("{}",), threshold=threshold, **more
    )


@dataclass
class Answer:
    """What one query found in one image: bool [h, w] on any grid, scores, and uint8 [n, n] probabilities, 255 for 1."""

    mask: np.ndarray
    score: float
    score_mean: float | None = None
    heat: np.ndarray | None = None


@dataclass
class Picture:
    """One image of a shard; ``data`` defaults to noise of ``width`` × ``height`` as PNG, ``status`` names failures."""

    image_id: str
    width: int = 64
    height: int = 40
    data: bytes | None = None
    status: str = "ok"
    error: str | None = None
    orientation: int = 1
    answers: dict[str, Answer] = field(default_factory=dict)
    phrases: dict[str, Answer] = field(default_factory=dict)

    def encoded(self, seed: int) -> bytes:
        if self.data is not None:
            return self.data
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (5, 8, 3), np.uint8)
        sink = io.BytesIO()
        Image.fromarray(coarse).resize((self.width, self.height), Image.Resampling.BICUBIC).save(sink, "PNG")
        return sink.getvalue()


def ellipse(x: float, y: float, rx: float, ry: float, grid: int = GRID) -> np.ndarray:
    """A filled ellipse, all in shares of the grid."""
    at = (np.arange(grid) + 0.5) / grid
    return ((at[None, :] - x) / rx) ** 2 + ((at[:, None] - y) / ry) ** 2 <= 1


def empty(grid: int = GRID) -> np.ndarray:
    return np.zeros((grid, grid), bool)


def write(
    folder: Path,
    queries: Sequence[Query],
    shards: Sequence[Sequence[Picture]],
    chunk_images: int = 4,
    phrases: PhraseSet | None = None,
    heat: int | None = None,
    input_format: str = "webdataset",
) -> str:
    """Write ``in/*.tar`` and the dataset ``out`` that a run over them would have left; its URL."""
    output = Store(str(folder / "out"))
    made = _record(str(folder / "in"), chunk_images, heat, input_format)
    record.create(output, made)
    listed = []
    for number, pictures in enumerate(shards):
        encoded = [picture.encoded(1000 * number + i) for i, picture in enumerate(pictures)]
        data = tar_of({f"{i:04d}.png": image for i, image in enumerate(encoded)})
        name = f"s-{number:03d}.tar"
        source = Store(str(folder / "in"))
        source.put(name, data)
        listed.append((Shard.of_object(Member(name, len(data), source.entry(name).etag)), pictures, data))
    inputs.append(output, lambda frozen: [shard for shard, _, _ in listed])
    prompt_set = PromptSet.of(list(queries), np.zeros((sum(query.is_prompt for query in queries), 4), np.float32))
    _claim(output, prompt_set.name, queries, prompt_set.to_table())
    names = {query.query_id for query in prompt_set.queries}
    if phrases:
        _claim(output, phrases.name, [phrases], to_table(phrases))
    for shard, pictures, data in listed:
        url = f"{folder}/in/{shard.path}"
        rows = _image_rows(shard, pictures, url, data, chunk_images)
        for chunk in range(-(-len(pictures) // chunk_images)):
            window = slice(chunk * chunk_images, (chunk + 1) * chunk_images)
            name = layout.part_name(shard.shard_id, chunk)
            images = pa.Table.from_pylist(rows[window], schema.IMAGES)
            facts = {"fingerprint": made.fingerprint, parts.IMAGES_HASH: parts.hash_of_images(images)}
            output.put(f"{layout.IMAGES}/{name}", parts.images_bytes(images, facts))
            rows_of = _of_set([row for row in mask_rows(pictures[window]) if row["query_id"] in names], prompt_set)
            masks = pa.Table.from_pylist(rows_of, optional_columns.masks_schema(["heat"] if heat else []))
            output.put(f"{layout.masks_folder(prompt_set.name)}/{name}", parts.masks_bytes(masks, facts))
            if phrases:
                masks = pa.Table.from_pylist(_of_set(phrase_rows(pictures[window]), phrases), schema.MASKS)
                output.put(f"{layout.masks_folder(phrases.name)}/{name}", parts.masks_bytes(masks, facts))
        sizes = [len(pictures[start : start + chunk_images]) for start in range(0, len(pictures), chunk_images)]
        chunks = [ChunkRecord(size, None, f"{i * chunk_images:04d}", 0) for i, size in enumerate(sizes)]
        held = {"shard_id": shard.shard_id, "path": shard.path, "samples": len(pictures), "chunks": tuple(chunks)}
        shard_records.put(output, ShardRecord(**held))
    versions = {"clipseg-ray": "0.1.0", "torch": "2"}
    runs.write_record(
        output,
        "20260101T000000-abcdef",
        {"run_id": "20260101T000000-abcdef", "state": "complete", "versions": versions},
    )
    return output.url


def add_queries(url: str, queries: Sequence[Query], shards: Sequence[Sequence[Picture]], chunk_images: int) -> None:
    """What a later run with more queries adds to a dataset of ``write``."""
    output = Store(url)
    prompt_set = PromptSet.of(list(queries), np.zeros((sum(query.is_prompt for query in queries), 4), np.float32))
    _claim(output, prompt_set.name, prompt_set.members, prompt_set.to_table())
    names = {query.query_id for query in prompt_set.queries}
    for shard, pictures in zip(inputs.read(output)[0], shards, strict=True):
        for chunk in range(-(-len(pictures) // chunk_images)):
            rows = mask_rows(pictures[chunk * chunk_images : (chunk + 1) * chunk_images])
            rows = _of_set([row for row in rows if row["query_id"] in names], prompt_set)
            masks = pa.Table.from_pylist(rows, schema.MASKS)
            name = layout.part_name(shard.shard_id, chunk)
            facts = schema.facts_of(parts.read_images(output, shard.shard_id, chunk).schema)
            output.put(f"{layout.masks_folder(prompt_set.name)}/{name}", parts.masks_bytes(masks, facts))


def _claim(output: Store, name: str, queries: Sequence[Any], table: pa.Table) -> None:
    sets.claim(output, len(sets.read(output)), name, queries)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    output.put(layout.queries_file(name), sink.getvalue())


def _record(root: str, chunk_images: int, heat: int | None, input_format: str) -> record.DatasetRecord:
    settings = {
        "format": input_format, "root": root, "image_field": None, "id_field": None, "chunk_images": chunk_images,
        "chunk_bytes": 2**28, "slice_images": 4096, "max_image_bytes": 2**28,
        "decode": "fast", "limit": None, "sample": None, "seed": 0,
    }  # fmt: skip
    preprocessing = {"size": GRID, "resample": 2, "rescale": 1 / 255, "mean": [0.5] * 3, "std": [0.5] * 3}
    model = {
        "checkpoint": "CIDAS/clipseg-rd64-refined", "revision": "abc123", "files": None, "weights_sha256": "0" * 64,
        "preprocessing": preprocessing,
    }  # fmt: skip
    compute = {
        "device": "cpu", "precision": "fp32", "reason": "", "compile": False, "batch": 1, "decode_chunk": 4,
    }  # fmt: skip
    masks = {"size": "model", "keep_empty": True, "presence": False, **({"heat": heat} if heat else {})}
    return record.DatasetRecord(input=settings, model=model, masks=masks, compute=compute)


def _image_rows(
    shard: Shard, pictures: Sequence[Picture], url: str, data: bytes, chunk_images: int
) -> list[dict[str, Any]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        infos = tar.getmembers()
    return [
        {
            "image_id": picture.image_id, "key": f"{i:04d}", "shard": shard.shard_id, "chunk": i // chunk_images,
            "source_url": url, "offset": info.offset_data, "length": info.size,
            "width": picture.width if picture.status == "ok" else None,
            "height": picture.height if picture.status == "ok" else None,
            "orientation": picture.orientation if picture.status == "ok" else None,
            "status": picture.status, "error": picture.error,
        }
        for i, (picture, info) in enumerate(zip(pictures, infos, strict=True))
    ]  # fmt: skip


def mask_rows(pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    """The masks table's rows of these images, for the table's queries."""
    return [
        _mask_row(picture, query_id, None, answer)
        for picture in pictures
        for query_id, answer in picture.answers.items()
    ]


def _of_set(rows: list[dict[str, Any]], prompt_set: PromptSet | PhraseSet) -> list[dict[str, Any]]:
    return [{**row, "prompt_set": prompt_set.name} for row in rows]


def phrase_rows(pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    """The same for the images' own phrases."""
    return [
        _mask_row(picture, phrase_id(text), text, answer)
        for picture in pictures
        for text, answer in picture.phrases.items()
    ]


def _mask_row(picture: Picture, query_id: str, text: str | None, answer: Answer) -> dict[str, Any]:
    height, width = answer.mask.shape
    bits = np.packbits(answer.mask.T.reshape(1, -1), axis=1, bitorder="little")
    rles = encode_bits(bits, height, width)
    area = int(rles.area[0])
    mean = answer.score if answer.score_mean is None else answer.score_mean
    return {
        "image_id": picture.image_id, "query_id": query_id, "query_text": text, "score": answer.score,
        "score_mean": mean if area else None, "area": area, "coverage": area / (height * width),
        "bbox": dict(zip("xywh", rles.bbox[0].tolist(), strict=True)), "height": height, "width": width,
        "counts": rles.counts[0].as_py(), "image_height": picture.height, "image_width": picture.width,
        "heat": None if answer.heat is None else answer.heat.tobytes(),
    }  # fmt: skip


def scattered(shards: int, images: int, queries: Sequence[str], seed: int = 0) -> list[list[Picture]]:
    """Images of several sizes in which each query finds an ellipse, or nothing where its score is under 0.5."""
    rng = np.random.default_rng(seed)
    made = []
    for shard in range(shards):
        pictures = []
        for i in range(images):
            width, height = (int(side) for side in rng.integers(30, 90, 2))
            answers = {}
            for query_id in queries:
                score = float(rng.uniform(0.02, 0.999))
                x, y, rx, ry = rng.uniform(0.2, 0.8, 4) * (1, 1, 0.5, 0.5)
                answers[query_id] = Answer(ellipse(x, y, rx, ry) if score > 0.5 else empty(), score, score * 0.9)
            pictures.append(Picture(f"s-{shard:03d}.tar/{i:04d}", width, height, answers=answers))
        made.append(pictures)
    return made
