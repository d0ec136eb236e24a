"""Everything that only a GPU can answer, in one command of eight minutes.

PYTHONPATH=. python jobs/benchmark.py gpu --device cuda --out results

Each part is a function of its own module (`parts` lists them in order). The parts run one after another in a worker
process (`worker`), which a supervisor that never touches the device (`runner`) replaces whenever a part spoils it.
"""
