import threading
import time

import numpy as np
import pytest
import torch

from clipseg_ray.pixels.decode import DecodedImage, ImageError, decode, decode_all

# pytest puts its own warning filters before those of the decoder.
pytestmark = [pytest.mark.filterwarnings("ignore:::PIL")]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_order_and_verdicts(encodings, preprocessing, threads):
    samples = [*encodings.items(), ("none", b""), ("text", b"hello"), *encodings.items()]

    def get_bytes(sample):
        time.sleep(0.002 if sample[0].startswith("j") else 0)  # later samples are ready first
        return sample[1]

    out = list(decode_all(iter(samples), get_bytes, preprocessing, "fast", threads))
    assert [sample for sample, _ in out] == samples
    for (name, data), result in out:
        if name in ("none", "text"):
            assert isinstance(result, ImageError)
            assert result.status == {"none": "empty", "text": "undecodable"}[name]
            assert result.__traceback__ is None  # it would hold on to the encoded bytes
        else:
            assert isinstance(result, DecodedImage)
            np.testing.assert_array_equal(result.pixels_hwc, decode(data, preprocessing).pixels_hwc)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_mode_is_passed_on(encodings, preprocessing, threads):
    samples = [encodings["jpeg 4:2:0"]] * 9
    exact = decode(samples[0], preprocessing, "exact").pixels_hwc
    for _, result in decode_all(samples, bytes, preprocessing, "exact", threads):
        np.testing.assert_array_equal(result.pixels_hwc, exact)


@pytest.mark.parametrize("threads", [1, 3])
def test_reads_only_a_small_window_ahead(encodings, preprocessing, threads):
    read = taken = furthest = 0

    def source():
        nonlocal read, furthest
        for _ in range(60):
            read += 1
            furthest = max(furthest, read - taken)
            yield encodings["gif"]

    for _ in decode_all(source(), bytes, preprocessing, threads=threads):
        taken += 1
    assert taken == 60
    assert furthest <= (2 * threads + 1 if threads > 1 else 1)


def test_threads_work_at_the_same_time(encodings, preprocessing):
    meeting = threading.Barrier(3)

    def get_bytes(sample):
        meeting.wait(timeout=20)  # breaks unless three are here together
        return sample

    assert len(list(decode_all([encodings["gif"]] * 6, get_bytes, preprocessing, threads=3))) == 6


def test_one_thread_is_the_callers(encodings, preprocessing):
    seen = set()

    def get_bytes(sample):
        seen.add(threading.get_ident())
        return sample

    list(decode_all([encodings["gif"]] * 3, get_bytes, preprocessing, threads=1))
    assert seen == {threading.get_ident()}


def test_torch_keeps_to_one_thread_in_each_of_ours_and_the_callers_setting_stays(encodings, preprocessing):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    seen = set()

    def get_bytes(sample):
        seen.add(torch.get_num_threads())
        return sample

    try:
        list(decode_all([encodings["jpeg 4:2:0"]] * 8, get_bytes, preprocessing, threads=2))
        assert seen == {1}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 3])
def test_what_the_source_raises_passes_through(encodings, preprocessing, threads):
    def source():
        yield from [encodings["gif"]] * 10
        raise OSError("connection reset")

    with pytest.raises(OSError, match="connection reset"):
        list(decode_all(source(), bytes, preprocessing, threads=threads))


@pytest.mark.parametrize("threads", [1, 3])
def test_stopping_early_leaves_no_thread_behind(encodings, preprocessing, threads):
    before = threading.active_count()
    stream = decode_all(iter([encodings["gif"]] * 1000), bytes, preprocessing, threads=threads)
    next(stream)
    stream.close()
    assert threading.active_count() == before
