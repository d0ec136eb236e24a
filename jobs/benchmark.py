"""Ours against its baselines in turns, predictions against runs, and the driver at scale. The log is BENCHMARKS.md.

python jobs/benchmark.py engine --prompts 1,8 --images 4 --rounds 3 --memory none
PYTHONPATH=. python jobs/benchmark.py gpu --out results   # from a tree that is not installed, on a GPU
"""

from benchmarks.command import main

if __name__ == "__main__":
    main()
