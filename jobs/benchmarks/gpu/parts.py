"""The parts of the GPU check, in their order.

Whoever adds a way through the engine adds its part here, as competing queries and finer masks have theirs. The shares
together are the time there is; what a part leaves of its own is nobody's, so that none is ever short of what it was
promised.
"""

from benchmarks.gpu.part import Part

_HOME = "benchmarks.gpu"

PARTS = (
    Part("card", f"{_HOME}.card:describe", 30),
    Part("rates", f"{_HOME}.rates:measure", 20),
    Part("exactness fp32", f"{_HOME}.exactness:fp32", 45),
    Part("exactness bf16", f"{_HOME}.exactness:bf16", 25),
    Part("kernels", f"{_HOME}.kernels:compare", 35, needs_gpu=True),
    Part("streams and graphs", f"{_HOME}.graphs:compare", 25),
    Part("contests", f"{_HOME}.contests:compare", 20),
    Part("finer masks", f"{_HOME}.finer:compare", 30),
    # Captures that ran short of memory keep what they had until the process ends.
    Part("short memory", f"{_HOME}.short_memory:fill", 35, needs_gpu=True, spoils=True),
    Part("throughput", f"{_HOME}.throughput:measure", 45),
    Part("host calls and bytes", f"{_HOME}.calls:count", 25),
    Part("run lengths", f"{_HOME}.run_lengths:measure", 15),
    # On a CPU this is `engine --compile on`, and takes longer than all the others.
    Part("compile", f"{_HOME}.compiling:compare", 80, needs_gpu=True),
    Part("start-up", f"{_HOME}.start_up:measure", 40),
)
