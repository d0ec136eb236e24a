"""The fused feed-forward kernel without a GPU: what it computes, in Triton's interpreter, and that it compiles."""

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clipseg_ray.masks import packing_kernel
from clipseg_ray.model import feedforward_kernel
from clipseg_ray.model.factory import make_model
from tests.model.simulated_cuda import SimulatedCuda

_needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="triton is not installed (PyTorch's CPU wheels lack it): pip install triton==3.7.1",
)

_EXACTNESS = """
import numpy as np
import torch
from torch import nn
from triton import language as tl
from triton.runtime import interpreter
from clipseg_ray.model.architecture import BlocksConfig
from clipseg_ray.model.feedforward_kernel import FusedFeedForward
from clipseg_ray.model.layers import DecoderBlock
from clipseg_ray.model.weights import Weights

def drawn(width, hidden):
    shapes = {f"self_attn.{name}_proj": (width, width) for name in ("q", "k", "v", "out")}
    shapes |= {"mlp.fc1": (hidden, width), "mlp.fc2": (width, hidden), "layer_norm1": (width,), "layer_norm2": (width,)}
    tensors = {f"{name}.weight": torch.empty(shape) for name, shape in shapes.items()}
    tensors |= {f"{name}.bias": torch.empty(shape[0]) for name, shape in shapes.items()}
    for tensor in tensors.values():
        nn.init.normal_(tensor, std=0.5 if tensor.ndim == 1 else 2 * tensor.shape[1] ** -0.5)
    config = BlocksConfig(
        hidden_size=width, intermediate_size=hidden, num_attention_heads=4, hidden_act="relu", layer_norm_eps=1e-3
    )
    return Weights(tensors), config

# The interpreter multiplies the bit patterns of bfloat16 as integers, and loses the carry where it rounds to it.
def widened(handle):
    if handle.dtype != tl.bfloat16:
        return handle.data
    return torch.from_numpy(handle.data.view(np.int16)).view(torch.bfloat16).float().numpy()

def dot(self, a, b, d, input_precision, max_num_imprecise_acc):
    product = np.matmul(widened(a), widened(b), dtype=np.float32)
    return interpreter.TensorHandle(product + d.data, d.dtype.scalar)

original = interpreter._convert_float
def convert(data, source, target, rounding):
    if (source, target) == (tl.float32, tl.bfloat16):
        values = torch.from_numpy(np.ascontiguousarray(data).view(np.float32))
        return values.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    return original(data, source, target, rounding)

interpreter.InterpreterBuilder.create_dot = dot
interpreter._convert_float = convert

torch.manual_seed(0)
for width, hidden, rows in ((64, 2048, 300), (64, 128, 128), (16, 64, 1), (128, 192, 129)):
    source = drawn(width, hidden)
    for dtype, tolerance in ((torch.float32, 2e-5), (torch.float16, 8e-3), (torch.bfloat16, 6e-2)):
        block = DecoderBlock(*source).to(dtype)
        assert FusedFeedForward.supports(block)
        x = torch.randn(3, rows, width).to(dtype)
        with torch.inference_mode():
            exact = DecoderBlock(*source).float()
            exact.load_state_dict({name: tensor.float() for name, tensor in block.state_dict().items()})
            expected = exact.norm2(x.float() + exact.feedforward(x.float()))
            found = FusedFeedForward(block)(x)
        assert found.dtype == dtype
        error = (found.float() - expected).abs().max().item()
        assert error <= tolerance, (width, hidden, rows, dtype, error)
        assert expected.std() > 0.1
assert not FusedFeedForward.supports(DecoderBlock(*drawn(24, 64)))
"""

_COMPILES = """
import re
import subprocess
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from clipseg_ray.model import feedforward_kernel as kernel

arrays = ("x_ptr", "w1_ptr", "b1_ptr", "w2_ptr", "b2_ptr", "gamma_ptr", "beta_ptr", "out_ptr")
constants = {"D": 64, "H": 2048, "ROWS": kernel._ROWS, "HIDDEN": kernel._HIDDEN}
options = {"num_warps": kernel._WARPS, "num_stages": kernel._STAGES}
for capability, kind in ((80, "bf16"), (90, "bf16"), (90, "fp16")):
    types = {name: f"*{kind}" for name in arrays} | {"rows": "i32", "eps": "fp32"}
    source = ASTSource(
        fn=kernel._kernel,
        signature=types | dict.fromkeys(constants, "constexpr"),
        constexprs=constants,
        attrs={(place,): [["tt.divisibility", 16]] for place in range(len(arrays))},
    )
    ptx = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm["ptx"]
    name = f"sm_{capability}{'a' if capability == 90 else ''}"
    report = subprocess.run(
        [triton.knobs.nvidia.ptxas.path, "-v", f"--gpu-name={name}", "-", "-o", "/dev/null"],
        input=ptx, capture_output=True, text=True, check=True,
    ).stderr
    print(name, kind, report)
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
def test_the_kernel_compiles_for_ampere_and_hopper_without_spilling_registers():
    _run(_COMPILES)


class _Pretended(torch.nn.Module):
    """In the kernel's place: PyTorch's operations, out by `error`."""

    error: float | Exception = 0.0

    def __init__(self, block):
        super().__init__()
        self.block = [block]

    @staticmethod
    def supports(block):
        return True

    def forward(self, x):
        if isinstance(self.error, Exception):
            raise self.error
        (block,) = self.block
        return block.norm2(x + block.feedforward(x)) + self.error


@pytest.mark.parametrize(
    ("precision", "capability", "error", "used", "says"),
    [
        ("bf16", (9, 0), 0.0, True, ""),
        ("fp16", (8, 0), 0.0, True, ""),
        ("bf16", (7, 5), 0.0, False, ""),
        ("fp32", (9, 0), 0.0, False, ""),
        ("bf16", (9, 0), 1.0, False, "off by"),
        ("bf16", (9, 0), RuntimeError("no C compiler"), False, "no C compiler"),
    ],
)
def test_the_kernel_is_chosen_by_rule(demo, monkeypatch, caplog, precision, capability, error, used, says):
    monkeypatch.setattr(packing_kernel, "triton", None)  # the other kernel, which could not run here
    monkeypatch.setattr(feedforward_kernel, "FusedFeedForward", _Pretended)
    monkeypatch.setattr(_Pretended, "error", error)
    with SimulatedCuda(monkeypatch), caplog.at_level(logging.WARNING):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        model = make_model(demo, device="cuda", precision=precision, batch=1, decode_chunk=1)
        fused = [block.fused is not None for block in model._decoder.blocks]
    assert fused == [used] * 3
    assert [says in record.getMessage() for record in caplog.records] == [True] * bool(says)
