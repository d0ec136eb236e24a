"""Which card, driver and libraries."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from typing import Any

import torch

from benchmarks.gpu.part import Finding, Setting

_QUERY = "driver_version,pstate,clocks.sm,clocks.mem,power.limit,pcie.link.gen.max,pcie.link.width.max"


def describe(setting: Setting) -> Finding:
    """The device as PyTorch and nvidia-smi see it."""
    values: dict[str, Any] = {"torch": torch.__version__, "triton": find_spec("triton") is not None}
    if setting.device != "cuda":
        return Finding(f"no card: CPU, PyTorch {torch.__version__}", values)
    properties = torch.cuda.get_device_properties(0)
    free, total = torch.cuda.mem_get_info()
    values |= {
        "gpu": properties.name,
        "capability": list(torch.cuda.get_device_capability(0)),
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": total,
        "free_bytes": free,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        **_of_driver(),
    }
    triton = "there" if values["triton"] else "missing"
    return Finding(
        f"{properties.name}, {total / 2**30:.0f} GiB ({free / 2**30:.0f} free), driver "
        f"{values.get('driver_version', '?')}, CUDA {values['cuda']}, PyTorch {torch.__version__}, Triton {triton}",
        values,
    )


def _of_driver() -> dict[str, str]:
    """What nvidia-smi says; nothing where there is none."""
    command = ["nvidia-smi", "--id=0", f"--query-gpu={_QUERY}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=15).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    first = answer.strip().splitlines()[:1]
    cells = [cell.strip() for cell in first[0].split(",")] if first else []
    return dict(zip(_QUERY.split(","), cells, strict=False))
