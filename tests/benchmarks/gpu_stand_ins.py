"""Parts that end in every way a part can, for the supervisor's tests; they run in its worker."""

import os
import signal
import subprocess
import sys
import time

from benchmarks.gpu.part import Finding


def passes(setting):
    print("this is no reply")
    return Finding("well", {"process": os.getpid(), "found": sorted(setting.found)})


def raises(setting):
    raise ValueError("a part's own\nfault")


def disagrees(setting):
    return Finding("not the same", {"difference": 1.0}, agrees=False)


def loses_the_device(setting):
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def dies(setting):
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs(setting):
    subprocess.Popen([sys.executable, "-c", f"import time; time.sleep(600)  # {setting.folder}"])
    time.sleep(600)


def imports_ray(setting):
    import ray

    return Finding(ray.__name__, {})
