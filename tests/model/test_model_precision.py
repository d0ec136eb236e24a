import pytest

from clipseg_ray.errors import UserError
from clipseg_ray.model import precision
from clipseg_ray.model.precision import default_batching, resolve_precision


@pytest.mark.parametrize(
    ("flags", "chosen", "why"),
    [
        ({"amx_tile", "amx_bf16", "avx512f", "avx512_bf16"}, "bf16", "has AMX"),
        ({"avx512f", "avx512_bf16"}, "bf16", "AVX-512 BF16"),
        ({"avx512f", "amx_tile"}, "fp32", "neither AMX nor"),
        (set(), "fp32", "neither AMX nor"),
    ],
)
def test_auto_on_a_cpu_asks_for_bf16_instructions_and_says_so(monkeypatch, flags, chosen, why):
    monkeypatch.setattr(precision, "_flags", lambda: frozenset(flags))
    decided, reason = resolve_precision("auto", "cpu")
    assert decided == chosen
    assert why in reason


def test_auto_on_a_gpu_is_bf16():
    assert resolve_precision("auto", "cuda:1")[0] == "bf16"


def test_a_wish_is_honoured_or_refused():
    assert resolve_precision("bf16", "cpu")[0] == "bf16"
    assert resolve_precision("fp16", "cuda")[0] == "fp16"
    with pytest.raises(UserError, match="fp16 is for GPUs"):
        resolve_precision("fp16", "cpu")
    with pytest.raises(UserError, match="'int8' is unknown"):
        resolve_precision("int8", "cpu")


def test_batches_are_larger_on_a_gpu():
    assert default_batching("cuda", "bf16") > default_batching("cpu", "fp32")
