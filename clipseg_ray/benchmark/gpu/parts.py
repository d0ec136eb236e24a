"""The parts of the GPU check, in their order.

What a later change adds to the engine (competing queries, views, refinement) adds its part here.
"""

from clipseg_ray.benchmark.gpu.part import Part

_HOME = "clipseg_ray.benchmark.gpu"

PARTS = (
    Part("card", f"{_HOME}.card:describe", 35),
    Part("rates", f"{_HOME}.rates:measure", 20),
    Part("exactness fp32", f"{_HOME}.exactness:fp32", 80),
    Part("exactness bf16", f"{_HOME}.exactness:bf16", 30),
    Part("kernels", f"{_HOME}.kernels:compare", 40, needs_gpu=True),
    Part("streams and graphs", f"{_HOME}.graphs:compare", 25),
    # Captures that ran short of memory keep what they had until the process ends.
    Part("short memory", f"{_HOME}.short_memory:fill", 40, needs_gpu=True, spoils=True),
    Part("throughput", f"{_HOME}.throughput:measure", 60),
    Part("host calls and bytes", f"{_HOME}.calls:count", 25),
    Part("run lengths", f"{_HOME}.run_lengths:measure", 15),
    Part("compile", f"{_HOME}.compiling:compare", 55),
    Part("start-up", f"{_HOME}.start_up:measure", 40),
)
