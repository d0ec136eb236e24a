"""The fused feed-forward kernel, run by Triton's interpreter on the CPU, against PyTorch's operations."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

_CHECK = """
import torch
from types import SimpleNamespace
from torch import nn
from transformers.models.clipseg.modeling_clipseg import CLIPSegDecoderLayer
from transformers import CLIPSegVisionConfig
from clipseg_ray.model.feedforward_kernel import FusedFeedForward
from clipseg_ray.model.layers import DecoderBlock

torch.manual_seed(0)
for width, hidden, rows in ((64, 2048, 300), (64, 128, 128), (16, 64, 1), (128, 192, 129)):
    config = CLIPSegVisionConfig(
        hidden_size=width, intermediate_size=hidden, num_attention_heads=4, hidden_act="relu", layer_norm_eps=1e-3
    )
    config._attn_implementation = "sdpa"
    source = CLIPSegDecoderLayer(config)
    for parameter in source.parameters():
        nn.init.normal_(parameter, std=0.5 if parameter.ndim == 1 else 2 * parameter.shape[1] ** -0.5)
    # Not bfloat16: the interpreter multiplies its bit patterns as integers.
    for dtype, tolerance in ((torch.float32, 2e-5), (torch.float16, 8e-3)):
        block = DecoderBlock(source).to(dtype)
        assert FusedFeedForward.supports(block)
        x = torch.randn(3, rows, width).to(dtype)
        with torch.inference_mode():
            exact = DecoderBlock(source).float()
            exact.load_state_dict({name: tensor.float() for name, tensor in block.state_dict().items()})
            expected = exact.norm2(x.float() + exact.feedforward(x.float()))
            found = FusedFeedForward(block)(x)
        assert found.dtype == dtype
        error = (found.float() - expected).abs().max().item()
        assert error <= tolerance, (width, hidden, rows, dtype, error)
        assert expected.std() > 0.1
config = CLIPSegVisionConfig(hidden_size=24, intermediate_size=64, num_attention_heads=4, hidden_act="relu")
config._attn_implementation = "sdpa"
assert not FusedFeedForward.supports(DecoderBlock(CLIPSegDecoderLayer(config)))
"""


@pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed (PyTorch's CPU wheels lack it)"
)
def test_the_kernel_equals_pytorch_in_the_interpreter():
    # A process of its own: Triton reads TRITON_INTERPRET when it is imported.
    result = subprocess.run(
        [sys.executable, "-c", _CHECK],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
