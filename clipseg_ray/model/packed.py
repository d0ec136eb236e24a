"""Linear layers with weights laid out for the CPU at hand, by oneDNN (https://github.com/uxlfoundation/oneDNN).

PyTorch's own ``linear`` multiplies float32 with MKL, which takes its AVX2 code on CPUs that are not Intel's and packs
the weights anew in every call. oneDNN's primitives for constant weights reach 95 % of what such a CPU can do, and
apply a ReLU or SiLU while the product is still in registers.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

from clipseg_ray.model.layers import Linear


class PackedLinear(nn.Module):
    """``activation(x·Wᵀ + b)`` as `Linear` gives it, up to rounding: [..., in] → [..., out], float32 or bfloat16."""

    def __init__(self, source: Linear) -> None:
        super().__init__()
        self.activation = {None: "none", "relu": "relu", "silu": "swish"}[source.activation]
        operations: Any = torch.ops.mkldnn
        # Opaque to PyTorch (no strides, no .to()), so it is no buffer.
        self._weight = operations._reorder_linear_weight(source.weight, None)
        self._bias = source.bias
        self._pointwise = operations._linear_pointwise

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._pointwise(x, self._weight, self._bias, self.activation, [], "")


def pays() -> bool:
    """Whether packed layers are faster on this CPU: where oneDNN has AVX-512 code, and this PyTorch hands it on.

    The same answer on every machine of a hardware class, so that masks are the same bytes there.
    """
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512" and _work()


@cache
def _work() -> bool:
    """Whether PyTorch's operators, which are private and may change in any release, still do what is asked of them."""
    try:
        layer, x = Linear(torch.eye(2), torch.ones(2), "silu"), torch.ones(1, 2)
        return torch.allclose(PackedLinear(layer)(x), layer(x))
    except (AttributeError, RuntimeError, TypeError):
        return False


def pack(module: nn.Module) -> None:
    """Replace every `Linear` inside `module`, which is on a CPU and in its final precision, by its packed form.

    Not for modules that are to be compiled: Inductor cannot trace packed weights, and packs by itself.
    """
    for name, child in module.named_children():
        if isinstance(child, Linear):
            setattr(module, name, PackedLinear(child))
        else:
            pack(child)
