"""The engine against transformers: encoded JPEGs in, run lengths and scores out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks import inputs, memory
from benchmarks.agreement import Agreement, columns_differ, precision_error
from benchmarks.baselines import Transformers, masks_of
from benchmarks.harness import Contestant, Race, environment, race, report, single_thread
from benchmarks.ours import Ours, block_bytes
from benchmarks.roofline import H200_BF16, encoder_products
from clipseg_ray.masks import rle
from clipseg_ray.model import flops
from clipseg_ray.model.checkpoint import Checkpoint, load
from clipseg_ray.model.embedding import embed_texts
from clipseg_ray.model.precision import DTYPES, resolve_precision

_CHECKED_PROMPTS = 32
_PRODUCT_SECONDS = 0.2
_DOCUMENTED = "transformers, as documented"
_FACTORED = "transformers, factored by hand"
_ALONE = "engine alone: pixels in, bits out"
_PAIRS_A_ROUND = {"cpu": {_DOCUMENTED: 8, _FACTORED: 64}, "cuda": {_DOCUMENTED: 256, _FACTORED: 2048}}
"""(image, prompt) pairs a baseline does in a round, unless one image has more: bounds the time of a round."""


def benchmark(
    *,
    device: str = "cpu",
    precision: str = "fp32",
    compile: bool = False,
    prompts: Sequence[int] = (1, 8, 32, 128),
    images: int | None = None,
    rounds: int = 5,
    memory_prompts: Sequence[int] = (1, 32, 1000),
    checkpoint: str | None = None,
    images_dir: str | None = None,
    json_file: str | None = None,
) -> dict[str, Any]:
    """Run it, print it, and return what the JSON line holds.

    images: for ours in each round (8 on a CPU, 256 on a GPU); the baselines do fewer, and every time is per image.
    checkpoint: a name or folder instead of the seeded random model. Raises UserError for inputs that are not there.
    """
    single_thread(device)
    precision, reason = resolve_precision(precision, device)
    images = images or (256 if device == "cuda" else 8)
    with inputs.checkpoint(checkpoint) as folder:
        loaded = load(folder)
        bench = _Bench(
            loaded, Transformers(folder, device), device, precision, compile, inputs.jpegs(images, images_dir)
        )
        everything = inputs.texts(max(prompts))
        result: dict[str, Any] = {
            "benchmark": "engine",
            **environment(device),
            "settings": {
                "device": device,
                "precision": precision,
                "precision_reason": reason,
                "compile": compile,
                "batch": bench.ours.engine.batch,
                "decode_chunk": bench.ours.engine.decode_chunk,
                "images": images,
                "rounds": rounds,
                "pictures": "drawn, 825×550" if images_dir is None else "photographs",
                "checkpoint": "seeded random ViT-B/16, refined head" if checkpoint is None else "as given",
                "size": loaded.preprocessing.size,
            },
        }
        result |= bench.check(everything)
        races, result["by_prompts"] = bench.by_prompts(everything, prompts, rounds)
        encoder, result["encoder"] = bench.encoder(rounds)
        result["memory"] = memory.measure(folder, device, precision, compile, memory_prompts)
    for row in result["by_prompts"]:
        row["share_of_peak"] = row["achieved_gflop_per_s"] / result["encoder"]["peak_gflop_per_s"]
        if device == "cuda":
            row |= _roofline(row, loaded, 1e9 * result["encoder"]["peak_gflop_per_s"])
    report(result, [*races, encoder], _notes(result), json_file)
    return result


class _Bench:
    """Ours and the baselines over the same images."""

    def __init__(
        self,
        loaded: Checkpoint,
        baseline: Transformers,
        device: str,
        precision: str,
        compile: bool,
        jpegs: Sequence[bytes],
    ) -> None:
        self.loaded, self.baseline, self.device, self.precision, self.jpegs = loaded, baseline, device, precision, jpegs
        self.ours = Ours(loaded, device, precision, compile)
        self.at_once = 8

    def check(self, everything: Sequence[str]) -> dict[str, Any]:
        """Ours in fp32 against the documented way on one image, decoded alike, then the price of our choices."""
        texts = everything[:_CHECKED_PROMPTS]
        exact = self.ours if self.precision == "fp32" else Ours(self.loaded, self.device, "fp32", False)
        embedded = exact.engine.embed(embed_texts(self.loaded, texts))
        jpeg = self.jpegs[0]
        reference_phw = torch.cat(list(self.baseline.documented_logits(jpeg, texts, self.at_once))).float()
        theirs = masks_of(reference_phw)
        pixels_bhwc = exact.pixels([jpeg], "exact")
        logits_phw = exact.engine.decode(exact.engine.encode(pixels_bhwc), embedded)[0].transpose(1, 2).cpu().numpy()
        rows = [exact.columns(block) for block in exact.blocks(pixels_bhwc, embedded)]
        height, width = exact.engine.grid
        counts = [text for row in rows for text in row["counts"].to_pylist()]
        masks_phw = rle.decode(counts, height, width)
        theirs_phw = rle.decode([found["counts"] for found in theirs.rles], height, width)
        agreement = Agreement.of(masks_phw, theirs_phw, logits_phw, reference_phw.cpu().numpy())
        found: dict[str, Any] = {"agrees": agreement.agrees, "agreement": agreement.to_json()}
        found["agreement"]["score_difference"] = columns_differ(_joined(rows, "score"), theirs.score_p)
        found["agreement"]["score_mean_difference"] = columns_differ(_joined(rows, "score_mean"), theirs.score_mean_p)
        found["agreement_text"] = str(agreement)
        few = self.jpegs[:4]
        decoded_exactly_pn = exact.masks_pn(exact.pixels(few, "exact"), embedded)
        decoded_fast_pn = exact.masks_pn(exact.pixels(few), embedded)
        found["fast_decode_error"] = precision_error(decoded_fast_pn, decoded_exactly_pn)
        if exact is not self.ours:
            embedded = self.ours.engine.embed(embed_texts(self.loaded, texts))
            masks_pn = self.ours.masks_pn(self.ours.pixels(few, "exact"), embedded)
            found["precision_error"] = precision_error(masks_pn, decoded_exactly_pn)
        return found

    def by_prompts(
        self, everything: Sequence[str], prompts: Sequence[int], rounds: int
    ) -> tuple[list[Race], list[dict[str, Any]]]:
        """One race for each number of prompts, and what ours achieved in it."""
        self.at_once = self._fastest_call(everything)
        races, rows = [], []
        for number in prompts:
            found, row = self._race(everything[:number], rounds)
            races.append(found)
            rows.append(row)
        return races, rows

    def _fastest_call(self, everything: Sequence[str]) -> int:
        """How many prompts a call of the documented way does fastest: a careful user would find out too."""
        sizes = [size for size in ((8, 16) if self.device == "cpu" else (8, 32, 128)) if size <= len(everything)]
        if len(sizes) < 2:
            return self.at_once
        texts = everything[: sizes[-1]]
        contestants = [
            Contestant(str(size), partial(self.baseline.documented, self.jpegs[0], texts, size), warm=False)
            for size in sizes
        ]
        timings = race("", "", contestants, 1, self.device).timings
        return int(min(timings, key=lambda timing: timing.median).name)

    def _race(self, texts: Sequence[str], rounds: int) -> tuple[Race, dict[str, Any]]:
        ours, count = self.ours, len(texts)
        embedded = ours.engine.embed(embed_texts(self.loaded, texts))
        conditionals_qc = self.baseline.embed(texts)
        pixels_bhwc = ours.pixels(self.jpegs)
        share = {name: self.jpegs[: max(1, pairs // count)] for name, pairs in _PAIRS_A_ROUND[self.device].items()}
        decoder_call = 4 if self.device == "cpu" else 64
        traffic = [(block_bytes(block), len(block.bits_pn)) for block in ours.blocks(pixels_bhwc, embedded)]
        ours.rows(self.jpegs, embedded)
        ours.seconds.clear()
        found = race(
            f"{count} prompt(s) an image",
            "image",
            [
                Contestant("ours", lambda: ours.rows(self.jpegs, embedded), len(self.jpegs), warm=False),
                Contestant(_ALONE, lambda: ours.alone(pixels_bhwc, embedded), len(self.jpegs), warm=False),
                Contestant(
                    _FACTORED,
                    lambda: [self.baseline.factored(j, conditionals_qc, decoder_call) for j in share[_FACTORED]],
                    len(share[_FACTORED]),
                ),
                Contestant(
                    _DOCUMENTED,
                    lambda: [self.baseline.documented(j, texts, self.at_once) for j in share[_DOCUMENTED]],
                    len(share[_DOCUMENTED]),
                    warm=False,
                ),
            ],
            rounds,
            self.device,
        )
        config, size = self.loaded.config, self.loaded.preprocessing.size
        work = flops.encoder_flops(config, size) + count * flops.decoder_flops(config, size)
        done = rounds * len(self.jpegs)
        return found, {
            "prompts": count,
            "images_per_s": 1 / found.of("ours").median,
            "engine_images_per_s": 1 / found.of(_ALONE).median,
            "ratio_documented": found.of(_DOCUMENTED).median / found.of("ours").median,
            "ratio_factored": found.of(_FACTORED).median / found.of("ours").median,
            "documented_prompts_per_call": min(self.at_once, count),
            "seconds_per_image_by_step": {step: seconds / done for step, seconds in ours.seconds.items()},
            "gflop_per_image": work / 1e9,
            "achieved_gflop_per_s": work / found.of(_ALONE).median / 1e9,
            "d2h_bytes_per_mask": sum(size for size, _ in traffic) / sum(rows for _, rows in traffic),
        }

    def encoder(self, rounds: int) -> tuple[Race, dict[str, Any]]:
        """The encoder alone against torch.mm in the same number format: the sizes of its own products, best of them.

        On a GPU also a large square; the encoder's time there includes the pixels' way to the device.
        """
        engine, config, size = self.ours.engine, self.loaded.config, self.loaded.preprocessing.size
        batches = 2 if self.device == "cpu" else 16
        count = batches * engine.batch
        pixels_bhwc = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
        each = flops.encoder_flops(config, size)
        contestants = [Contestant("encoder", lambda: engine.encode(pixels_bhwc), count * each / 1e9)]
        shapes = encoder_products(config, size, engine.batch)
        if self.device == "cuda":
            shapes.append((8192, 8192, 8192))
        contestants += [self._product(*shape) for shape in dict.fromkeys(shapes)]
        found = race(f"encoder alone, {self.precision}", "GFLOP", contestants, max(3, rounds), self.device)
        best = min(found.timings[1:], key=lambda timing: timing.median)
        return found, {
            "gflop_per_image": each / 1e9,
            "images_per_s": 1e9 / each / found.of("encoder").median,
            "gflop_per_s": 1 / found.of("encoder").median,
            "peak_gflop_per_s": 1 / best.median,
            "peak_of": best.name,
            "share_of_peak": best.median / found.of("encoder").median,
        }

    def _product(self, rows: int, inner: int, columns: int) -> Contestant:
        dtype = DTYPES[self.precision]
        a = torch.randn(rows, inner, device=self.device).to(dtype)
        b = torch.randn(inner, columns, device=self.device).to(dtype)
        out = torch.empty(rows, columns, device=self.device, dtype=dtype)
        gflop = 2e-9 * rows * inner * columns
        once = race("", "", [Contestant("", partial(torch.mm, a, b, out=out))], 1, self.device).timings[0].median
        repeats = max(1, round(_PRODUCT_SECONDS / once))

        def run() -> None:
            for _ in range(repeats):
                torch.mm(a, b, out=out)

        return Contestant(f"torch.mm {rows}×{inner}×{columns}", run, repeats * gflop)


def _joined(rows: Sequence[dict[str, Any]], name: str) -> list[float | None]:
    return [value for row in rows for value in row[name].to_pylist()]


def _roofline(row: dict[str, Any], loaded: Checkpoint, peak: float) -> dict[str, float]:
    """Images per second if nothing but the matrix products took time, at the measured peak and at an H200's."""
    config, size = loaded.config, loaded.preprocessing.size
    work = flops.encoder_flops(config, size) + row["prompts"] * flops.decoder_flops(config, size)
    return {
        "roofline_images_per_s": peak / work,
        "share_of_roofline": row["engine_images_per_s"] * work / peak,
        "h200_roofline_images_per_s": H200_BF16 / work,
        "share_of_h200_roofline": row["engine_images_per_s"] * work / H200_BF16,
    }


def _rate(gflop_per_s: float) -> str:
    return f"{gflop_per_s:.0f} GFLOP/s" if gflop_per_s < 10_000 else f"{gflop_per_s / 1e3:.0f} TFLOP/s"


def _notes(result: dict[str, Any]) -> list[str]:
    settings, encoder, threads = result["settings"], result["encoder"], result["hardware"]["torch_threads"]
    notes = [
        f"JPEG in, RLE and scores out, {settings['device']}, {threads} torch thread(s); ours in {settings['precision']}"
        f"{', compiled' if settings['compile'] else ''}, baselines in fp32, eager. Texts of ours and of the factored "
        "way are embedded beforehand. Baselines do fewer images a round; all times are per image.",
        f"Results {result['agreement_text']}.",
        "Decoding fast instead of exactly: {pixels_differ:.2e} of pixels differ, mean IoU {iou_mean:.5f}.".format(
            **result["fast_decode_error"]
        ),
    ]
    if "precision_error" in result:
        notes.append(
            f"{settings['precision']} against fp32: "
            "{pixels_differ:.2e} of pixels differ; IoU mean {iou_mean:.5f}, 5th percentile {iou_5th_percentile:.5f}, "
            "pooled {iou_pooled:.5f}.".format(**result["precision_error"])
        )
    notes.append(
        f"Encoder: {encoder['gflop_per_image']:.1f} GFLOP an image, {_rate(encoder['gflop_per_s'])} = "
        f"{encoder['share_of_peak']:.0%} of {encoder['peak_of']} ({_rate(encoder['peak_gflop_per_s'])})."
    )
    for row in result["by_prompts"]:
        steps = ", ".join(f"{k} {1e3 * v:.3g} ms" for k, v in row["seconds_per_image_by_step"].items())
        note = (
            f"P={row['prompts']}: an image takes {steps}; {_rate(row['achieved_gflop_per_s'])} "
            f"({row['share_of_peak']:.0%} of peak), {row['d2h_bytes_per_mask']:.0f} bytes a mask leave the device"
        )
        if "share_of_roofline" in row:
            note += f", {row['share_of_roofline']:.0%} of the roofline ({row['roofline_images_per_s']:.0f} images/s)"
        notes.append(f"{note}.")
    notes += memory.notes(result["memory"])
    return notes
