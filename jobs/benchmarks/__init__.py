"""Benchmarks: ours and its baselines in turns on the same inputs, first checked for the same results.

python jobs/benchmark.py --help
"""
