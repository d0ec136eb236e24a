"""What a piece of code takes at most, in a process of its own."""

import subprocess
import sys
from pathlib import Path


def peak_kib(code: str, *arguments: object) -> int:
    """Runs ``code``, which ends by printing its ``ru_maxrss``, and gives that number."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    root = Path(__file__).parents[2]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout)
