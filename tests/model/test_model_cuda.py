"""The engine's way through a GPU, on a simulated one: streams, graphs, pinned copies, padding, short memory."""

import logging

import numpy as np
import pytest
import torch

from clipseg_ray.errors import UserError
from clipseg_ray.model.engine import Engine
from clipseg_ray.model.factory import make_model
from clipseg_ray.model.headroom import is_short_of_memory
from clipseg_ray.model.merging import Merging
from clipseg_ray.pixels.viewed_images import Gathering
from clipseg_ray.pixels.views import Views
from tests.model.simulated_cuda import SimulatedCuda

pytestmark = pytest.mark.usefixtures("without_triton")

IMAGES, QUERIES, SIDE = 5, 7, 48


@pytest.fixture(scope="module")
def pixels():
    coarse = torch.from_numpy(np.random.default_rng(3).uniform(0, 255, (IMAGES, 3, 5, 5)))
    smooth = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic").clamp(0, 255)
    return smooth.permute(0, 2, 3, 1).to(torch.uint8).numpy()


@pytest.fixture(scope="module")
def conditionals():
    return np.random.default_rng(4).standard_normal((QUERIES, 64)).astype(np.float32)


def _engine(small, device="cuda", batch=2, decode_chunk=8, optional=(), **options):
    settings = {"device": device, "batch": batch, "decode_chunk": decode_chunk, **options}
    return Engine(make_model(small, columns=optional, **settings), dict.fromkeys(optional, True))


def _rows(engine, images, conditionals, **options):
    """{(image, query): (bits, max, sum, presence, logits)}, each pair once."""
    rows = {}
    thresholds = np.linspace(-3, 0, len(conditionals))
    for block in engine.segment(images, engine.embed(conditionals), thresholds, **options):
        logits = {} if block.logits_row_k is None else dict(zip(block.logits_row_k, block.logits_kwh, strict=True))
        for p, pair in enumerate(zip(block.image_index_p.tolist(), block.query_index_p.tolist(), strict=True)):
            assert pair not in rows
            presence = block.optional["presence"][p] if block.optional else None
            rows[pair] = (
                block.bits_pn[p].copy(),
                block.max_logit_p[p],
                block.probability_sum_p[p],
                presence,
                logits.get(p),
            )
    return rows


def _assert_same(rows, expected, flips=2, rough=1e-4):
    """Up to ties at the threshold and rounding."""
    assert rows.keys() == expected.keys()
    for pair, (bits, max_logit, probability_sum, presence, logits) in rows.items():
        other = expected[pair]
        assert np.unpackbits(bits ^ other[0]).sum() <= flips, pair
        assert max_logit == pytest.approx(other[1], abs=rough), pair
        assert probability_sum == pytest.approx(other[2], abs=2 * flips, rel=1e-2), pair
        assert presence == pytest.approx(other[3], abs=rough), pair
        assert (logits is None) == (other[4] is None), pair
        if logits is not None:
            np.testing.assert_allclose(logits, other[4], atol=rough)


def _assert_identical(rows, expected):
    assert rows.keys() == expected.keys()
    for pair, found in rows.items():
        for ours, theirs in zip(found, expected[pair], strict=True):
            np.testing.assert_array_equal(ours, theirs)


# The streams of an engine: PyTorch's own, up, down, and one to capture on for each of its three programs.
LAGS = ["all", *((name,) for name in ("default", "stream 1", "stream 2", "stream 3", "stream 4", "stream 5"))]


@pytest.fixture(scope="module")
def on_cpu(small, pixels, conditionals):
    engine = _engine(small, "cpu", optional=["presence"])
    return _rows(engine, pixels, conditionals, want_logits=True)


@pytest.fixture(scope="module")
def in_order(small, pixels, conditionals):
    with pytest.MonkeyPatch.context() as patch, SimulatedCuda(patch):
        return _rows(_engine(small, optional=["presence"]), pixels, conditionals, want_logits=True)


@pytest.mark.parametrize("lag", LAGS, ids=str)
def test_whatever_the_streams_do_the_masks_are_those_of_a_cpu(
    small, pixels, conditionals, on_cpu, in_order, monkeypatch, lag
):
    with SimulatedCuda(monkeypatch, lag) as cuda:
        engine = _engine(small, optional=["presence"])
        rows = _rows(engine, pixels, conditionals, want_logits=True)
        again = _rows(engine, engine.encode(pixels), conditionals, want_logits=True)
        # 14 rows of two images by 8, 7 of one by 8 and nothing smaller: encoder, decoder.
        assert cuda.captures == 2
    _assert_same(rows, on_cpu)
    _assert_identical(rows, in_order)
    _assert_identical(again, in_order)
    assert 10 < sum(row[4] is not None for row in rows.values()) < IMAGES * QUERIES  # masks that are not empty


@pytest.mark.parametrize(("precision", "flips", "rough"), [("bf16", 60, 0.2), ("fp16", 12, 0.02)])
def test_low_precision_takes_the_same_way(small, pixels, conditionals, on_cpu, monkeypatch, precision, flips, rough):
    found = []
    for lag in ((), "all"):
        with monkeypatch.context() as patch, SimulatedCuda(patch, lag):
            engine = _engine(small, precision=precision)
            assert engine.encode(pixels).taps_kbtd.dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
            found.append(_rows(engine, pixels, conditionals))
    _assert_identical(*found)
    _assert_same(found[0], {pair: (*row[:3], None, None) for pair, row in on_cpu.items()}, flips, rough)


def test_few_rows_go_through_a_smaller_graph_and_only_scores_and_bits_cross(small, pixels, conditionals, monkeypatch):
    whole = _rows(_engine(small, "cpu"), pixels, conditionals)
    pairs = (np.array([4, 1, 4, 1, 1]), np.array([0, 6, 3, 2, 5]))
    with SimulatedCuda(monkeypatch) as cuda:
        engine = _engine(small, decode_chunk=16)
        rows = _rows(engine, pixels, conditionals, pairs=pairs)
        assert cuda.downloaded == 5 * (SIDE * SIDE // 8 + 4 + 4)
        assert cuda.captures == 2
        one = _rows(engine, pixels[:1], conditionals[:1])
        assert cuda.captures == 3  # 5 rows by 8, 1 by 2
        everything = _rows(engine, pixels, conditionals)
        assert cuda.captures == 4  # 14 by 16, 7 by 8
        used = cuda.used
        _rows(engine, pixels, conditionals)
        assert (cuda.captures, cuda.used) == (4, used)
    _assert_same(rows, {pair: whole[pair] for pair in rows})
    _assert_same(one, {(0, 0): everything[0, 0]})
    _assert_same(everything, whole)


def test_logits_by_pairs(small, pixels, conditionals, monkeypatch):
    plain = _engine(small, "cpu")
    expected = plain.decode(plain.encode(pixels), plain.embed(conditionals))
    with SimulatedCuda(monkeypatch, "all"):
        engine = _engine(small, decode_chunk=3)
        features, prompts = engine.encode(pixels), engine.embed(conditionals)
        whole = engine.decode(features, prompts).cpu()
        images, queries = np.array([3, 0, 0, 4]), np.array([6, 1, 1, 0])
        chunks = [chunk.cpu() for chunk in engine.decode_pairs(features, images, prompts, queries)]
    torch.testing.assert_close(whole, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.cat(chunks), expected[images, queries], atol=1e-4, rtol=0)


def test_a_gpu_that_is_not_the_current_one(small, pixels, conditionals, on_cpu, monkeypatch):
    # The current device is each thread's own, so the one an engine was made under says nothing.
    with SimulatedCuda(monkeypatch, "all", devices=2) as cuda:
        engine = _engine(small, "cuda:1", optional=["presence"])
        cuda.set_device(0)
        rows = _rows(engine, pixels, conditionals, want_logits=True)
        assert cuda.current_device() == 0
        assert {stream.index for stream in cuda.streams if stream.name.startswith("stream")} == {1}
    _assert_same(rows, on_cpu)


def test_prompts_given_up_on_leaves_a_working_engine(small, pixels, conditionals, on_cpu, monkeypatch):
    with SimulatedCuda(monkeypatch, "all"):
        engine = _engine(small, optional=["presence"])
        blocks = engine.segment(pixels, engine.embed(conditionals), np.zeros(QUERIES))
        next(blocks)
        blocks.close()
        rows = _rows(engine, pixels, conditionals, want_logits=True)
    _assert_same(rows, on_cpu)


# ---- short memory


def _sizes(caplog):
    return [record.getMessage().split(": ")[1].split(" at a time")[0] for record in caplog.records]


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5])
def test_whatever_a_gpu_holds_the_masks_are_the_same_or_it_is_said_to_be_too_small(
    small, pixels, conditionals, on_cpu, monkeypatch, caplog, share
):
    with monkeypatch.context() as patch, SimulatedCuda(patch) as cuda:
        engine = _engine(small, batch=4, decode_chunk=16, optional=["presence"])
        ready = cuda.used
        _rows(engine, pixels, conditionals, want_logits=True)
        needed = cuda.peak - ready
    with SimulatedCuda(monkeypatch, "all") as cuda, caplog.at_level(logging.WARNING):
        engine = _engine(small, batch=4, decode_chunk=16, optional=["presence"])
        cuda.capacity = ready + int(share * needed)
        rows = _rows(engine, pixels, conditionals, want_logits=True)
        assert cuda.peak <= cuda.capacity
        again = _rows(engine, pixels, conditionals, want_logits=True)
    _assert_same(rows, on_cpu)
    _assert_same(again, on_cpu)
    assert 1 <= len(_sizes(caplog)) == len(set(_sizes(caplog)))
    assert engine.decode_chunk < 16 or engine.batch < 4


def test_a_gpu_too_small_for_one_image_is_named(small, pixels, conditionals, monkeypatch):
    with SimulatedCuda(monkeypatch) as cuda:
        engine = _engine(small, batch=4, decode_chunk=4)
        cuda.capacity = cuda.used + 50_000
        with pytest.raises(UserError, match="cuda:0 has too little free memory"):
            _rows(engine, pixels, conditionals)
        cuda.capacity = None
        assert len(_rows(engine, pixels, conditionals)) == IMAGES * QUERIES


@pytest.mark.parametrize("fault", ["refusals", "invalidations", "unfinished"])
@pytest.mark.parametrize("when", ["encode", "decode"])
def test_memory_that_runs_short_in_a_capture(small, pixels, conditionals, on_cpu, monkeypatch, caplog, fault, when):
    with SimulatedCuda(monkeypatch, "all") as cuda, caplog.at_level(logging.WARNING):
        engine = _engine(small, optional=["presence"])
        images = pixels
        if when == "decode":
            images = engine.encode(pixels)
        setattr(cuda, fault, 1)
        rows = _rows(engine, images, conditionals, want_logits=True)
        assert cuda.current_stream().name == "default"
        assert not getattr(cuda, fault)
    _assert_same(rows, on_cpu)
    assert _sizes(caplog) == [{"encode": "encoding 1 images", "decode": "decoding 4 rows"}[when]]


def test_fewer_images_at_a_time_lose_none_of_those_already_encoded(small, pixels, conditionals, on_cpu, monkeypatch):
    with SimulatedCuda(monkeypatch) as cuda:
        engine = _engine(small, batch=4, decode_chunk=1, optional=["presence"])
        features = engine.encode(pixels)
        cuda.refusals = 1  # at one row at a time it is images that there are too many of
        rows = _rows(engine, features, conditionals, want_logits=True)
        assert engine.batch == 2
    _assert_same(rows, on_cpu)


def test_what_counts_as_short_memory():
    lost = RuntimeError("CUDA error: operation failed due to a previous error during capture")
    lost.__context__ = torch.OutOfMemoryError("CUDA out of memory")
    for error, short in (
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (torch.AcceleratorError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("Triton Error [CUDA]: out of memory"), True),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (lost, True),
        (RuntimeError("CUDA error: operation failed due to a previous error during capture"), False),
    ):
        assert is_short_of_memory(error) is short, error


def test_other_errors_are_not_swallowed(small, pixels, conditionals, monkeypatch):
    with SimulatedCuda(monkeypatch):
        engine = _engine(small)
        monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda self: _raise(torch.AcceleratorError("illegal")))
        with pytest.raises(torch.AcceleratorError, match="illegal"):
            _rows(engine, pixels, conditionals)
    assert engine.batch == 2


def _raise(error):
    raise error


@pytest.mark.parametrize("lag", ["all", (), ("default",)], ids=str)
@pytest.mark.parametrize("only", [None, "found"])
def test_tiles_take_the_same_way(small, conditionals, monkeypatch, lag, only):
    views = Views(tiles=2, overlap=0.5, whole=True, only=only, floor=None if only is None else 0.45)
    gathering = Gathering(3, SIDE, views)
    for number, tiles in enumerate((2, 1, 2)):
        side = tiles * SIDE
        coarse = torch.from_numpy(np.random.default_rng(number).uniform(0, 255, (1, 3, 5, 5)))
        large = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 255)
        large_hwc = large[0].permute(1, 2, 0).to(torch.uint8).numpy()
        gathering.add(np.ascontiguousarray(large_hwc[::tiles, ::tiles]), large_hwc if tiles > 1 else None)
    images = gathering.done()

    def rows(device):
        model = make_model(small, device=device, batch=2, decode_chunk=8, columns=["presence"])
        engine = Engine(model, {"presence": True}, views=views)
        return _rows(engine, images, conditionals, want_logits=True)

    expected = rows("cpu")
    with SimulatedCuda(monkeypatch, lag):
        found = rows("cuda")
    _assert_same(found, expected, flips=4)
    assert {row[4].shape for row in found.values() if row[4] is not None} == {(SIDE, SIDE), (2 * SIDE, 2 * SIDE)}


def test_tiles_are_finished_where_memory_runs_short(small, conditionals, monkeypatch):
    views = Views(tiles=2, overlap=0.5, whole=True)
    gathering = Gathering(1, SIDE, views)
    large_hwc = np.random.default_rng(0).integers(0, 256, (2 * SIDE, 2 * SIDE, 3), np.uint8)
    gathering.add(large_hwc[::2, ::2], large_hwc)
    images = gathering.done()

    def engine(device):
        return Engine(make_model(small, device=device, batch=2, decode_chunk=8), views=views)

    expected = _rows(engine("cpu"), images, conditionals, want_logits=True)
    fits = 1
    with SimulatedCuda(monkeypatch):
        short = engine("cuda")
        add = Merging.add

        def adding(self, map_kwh, window, logits_kwh):
            if len(map_kwh) > fits:
                raise torch.OutOfMemoryError("out of memory")
            add(self, map_kwh, window, logits_kwh)

        monkeypatch.setattr(Merging, "add", adding)
        found = _rows(short, images, conditionals, want_logits=True)
    assert short.decode_chunk == 1
    _assert_same(found, expected, flips=4)
