"""``clipseg-ray try``, as it is typed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path


def test_the_verb_prints_a_table_and_where_the_overlay_lies(
    clipseg_ray: Callable[..., tuple[int, str, str]], here: Path, checkpoint_dir: Path
) -> None:
    model = ["-s", f"model.checkpoint={checkpoint_dir}", "-s", "model.precision=fp32"]
    (here / "table.csv").write_text("query_id,text\nsit,something to sit on\n")
    code, output, errors = clipseg_ray(
        "try", "one/photo.jpg", "a cat", "--image", "<b>two/photo.jpg", "--box", "5,5,50,40", "--table",
        "table.csv", "--threshold", "0.001", "--size", "image", *model, "-o", "found.png",
    )  # fmt: skip
    assert (code, errors) == (0, "")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if line.startswith("│")]
    assert [row[0] for row in rows] == ["something to sit on", "a cat", "photo"]
    assert all(re.fullmatch(r"\d\.\d\d", row[1]) and re.fullmatch(r"[\d.]+%", row[2]) for row in rows)
    assert output.endswith(f"wrote {here}/found.png\n")
    code, output, errors = clipseg_ray("try", "one/photo.jpg", "broken.jpg", "a cat", "--threshold", "0.999", *model)
    assert code == 1
    assert "not found" in output
    assert errors.startswith("not read: broken.jpg: ")
