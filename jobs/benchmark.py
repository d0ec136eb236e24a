"""Ours against its peers, in turns on the same inputs, and predictions against runs. The log is BENCHMARKS.md.

python jobs/benchmark.py engine --prompts 1,8 --images 4 --rounds 3 --memory none
"""

from clipseg_ray.benchmark.command import main

if __name__ == "__main__":
    main()
