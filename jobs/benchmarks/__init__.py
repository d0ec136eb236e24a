"""Benchmarks: ours and its peers in turns on the same inputs, first checked for the same results.

python jobs/benchmark.py --help
"""
