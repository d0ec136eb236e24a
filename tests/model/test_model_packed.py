"""Layers packed by oneDNN give what PyTorch's give."""

import pytest
import torch
from torch import nn

from clipseg_ray.model import packed
from clipseg_ray.model.layers import Linear
from clipseg_ray.model.packed import PackedLinear, pack

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch was built without oneDNN")


@pytest.mark.parametrize("activation", [None, "relu", "silu"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 48), (485, 48), (2, 7, 48)])
def test_the_same_as_the_layer_it_replaces(shape, bias, activation):
    torch.manual_seed(1)
    layer = Linear(torch.randn(80, 48), torch.randn(80) if bias else None, activation)
    x = torch.randn(shape)
    torch.testing.assert_close(PackedLinear(layer)(x), layer(x), rtol=1e-5, atol=1e-5)


def test_every_layer_of_a_module_is_replaced_and_nothing_else():
    inner = nn.Sequential(Linear(torch.randn(8, 4), None), nn.LayerNorm(8))
    module = nn.Sequential(inner, Linear(torch.randn(2, 8), torch.randn(2), "relu"))
    x = torch.randn(3, 4)
    expected = module(x)
    pack(module)
    assert [type(part) for part in (inner[0], inner[1], module[1])] == [PackedLinear, nn.LayerNorm, PackedLinear]
    torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fault", [AttributeError("gone"), TypeError("an argument more"), lambda x, *_: x])
def test_layers_stay_as_they_are_where_the_operators_are_others(fault, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")

    def product(*arguments):
        if isinstance(fault, Exception):
            raise fault
        return fault(*arguments)

    assert packed._work.__wrapped__()
    monkeypatch.setattr(packed.torch.ops.mkldnn, "_linear_pointwise", product)
    packed._work.cache_clear()
    assert not packed.pays()
    packed._work.cache_clear()
