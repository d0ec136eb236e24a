"""Several truth shards on a machine where nobody has set up Ray."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.mark.slow
def test_several_shards_on_a_cluster_of_its_own(tmp_path: Path) -> None:
    """Ray reads whether it has a token to show when it is imported: the command gives it one before."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    label = np.zeros((8, 8), np.uint8)
    label[2:5, 3:6] = 1
    for number in range(251):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(tmp_path / "images" / f"{number}.jpg")
        Image.fromarray(label).save(tmp_path / "labels" / f"{number}.png")
    (tmp_path / "classes.json").write_text(json.dumps({"0": "null", "1": "bag"}))
    alone = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {"HOME": str(tmp_path)}
    command = [sys.executable, "-m", "clipseg_ray", "truth", "masks", str(tmp_path), str(tmp_path / "truth")]
    done = subprocess.run(command, env=alone, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 shard(s) written, 251 images with 251 masks" in done.stdout
