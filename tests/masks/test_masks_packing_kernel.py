"""The packing kernel without a GPU: what it computes, in Triton's interpreter, and that it compiles."""

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clipseg_ray.masks import packing_kernel
from clipseg_ray.masks.threshold import Packed, pack
from tests.model.simulated_cuda import SimulatedCuda

_needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="triton is not installed (PyTorch's CPU wheels lack it): pip install triton==3.7.1",
)

_EXACTNESS = """
import torch
from clipseg_ray.masks.packing_kernel import pack_fused
from clipseg_ray.masks.threshold import pack

torch.manual_seed(0)
for rows, side in ((1, 1), (3, 3), (2, 37), (2, 128), (2, 200), (1, 352)):
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        logits = (3 * torch.randn(rows, side, side)).to(dtype)
        limits = torch.linspace(-1, 1, rows)
        limits[0] = logits[0].flatten()[0].float()  # a tie
        if side == 37:
            logits[0, 0, 0], logits[1, -1, -1] = float("nan"), float("-inf")
        if side == 128:
            limits[1] = 1000
        found, expected = pack_fused(logits, limits), pack(logits, limits)
        assert torch.equal(found.bits_pn, expected.bits_pn), (side, dtype)
        torch.testing.assert_close(found.max_logit_p, expected.max_logit_p, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(found.probability_sum_p, expected.probability_sum_p, rtol=1e-5, atol=1e-5)
        assert found.bits_pn.any() or side < 4
"""

_COMPILES = """
import re
import subprocess
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from clipseg_ray.masks import packing_kernel as kernel

constants = {"SEGMENT": kernel._SEGMENT, "OCTETS": kernel._OCTETS}
for capability, kind in ((80, "bf16"), (90, "bf16"), (90, "fp32")):
    arrays = {"logits_ptr": kind, "limit_ptr": "fp32", "bits_ptr": "u8", "highest_ptr": "fp32", "sum_ptr": "fp32"}
    types = {name: f"*{of}" for name, of in arrays.items()} | {"pixels": "i32", "octets": "i32"}
    source = ASTSource(
        fn=kernel._kernel,
        signature=types | dict.fromkeys(constants, "constexpr"),
        constexprs=constants,
        attrs={(place,): [["tt.divisibility", 16]] for place in range(len(types))},
    )
    ptx = triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["ptx"]
    assert "ld.global.v4.b32" in ptx  # 16 bytes at a time
    name = f"sm_{capability}{'a' if capability == 90 else ''}"
    report = subprocess.run(
        [triton.knobs.nvidia.ptxas.path, "-v", f"--gpu-name={name}", "-", "-o", "/dev/null"],
        input=ptx, capture_output=True, text=True, check=True,
    ).stderr
    assert re.search(r" 0 bytes spill stores, 0 bytes spill loads", report), report
"""


def _run(code, **environment):
    # A process of its own: Triton reads TRITON_INTERPRET when it is imported.
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


@_needs_triton
def test_the_kernel_equals_pytorch_in_the_interpreter():
    _run(_EXACTNESS, TRITON_INTERPRET="1")


@_needs_triton
def test_the_kernel_compiles_for_ampere_and_hopper():
    _run(_COMPILES)


def _one_bit_off(logits_pwh, threshold_logit_p):
    packed = pack(logits_pwh, threshold_logit_p)
    return Packed(packed.bits_pn ^ 1, *packed[1:])


def _without_a_compiler(logits_pwh, threshold_logit_p):
    raise RuntimeError("no C compiler")


@pytest.mark.parametrize(
    ("kernel", "used", "says"),
    [
        (lambda *inputs: pack(*inputs), True, ""),
        (_one_bit_off, False, "does not agree"),
        (_without_a_compiler, False, "no C compiler"),
    ],
)
def test_the_kernel_is_chosen_by_rule(monkeypatch, caplog, kernel, used, says):
    assert packing_kernel.triton is not None or packing_kernel.choose(torch.device("cuda", 0)) is pack
    monkeypatch.setattr(packing_kernel, "triton", object())
    monkeypatch.setattr(packing_kernel, "pack_fused", kernel)
    with SimulatedCuda(monkeypatch), caplog.at_level(logging.WARNING):
        chosen = packing_kernel.choose(torch.device("cuda", 0))
    assert chosen is (kernel if used else pack)
    assert [says in record.getMessage() for record in caplog.records] == [True] * bool(says)
