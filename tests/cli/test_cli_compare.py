"""What ``compare`` prints, and what its exit code says."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from clipseg_ray.comparison.command import compare
from tests.report import world


@pytest.fixture
def urls(tmp_path):
    """One query of twelve images, and the same a little to the right."""
    shards = world.scattered(1, 12, ["dog"])
    first = world.write(tmp_path / "a", [world.query("dog")], shards)
    for picture in shards[0]:
        answer = picture.answers["dog"]
        answer.mask = np.roll(answer.mask, 2, 1)
    return first, world.write(tmp_path / "b", [world.query("dog")], shards)


def test_a_row_a_query_and_where_the_page_is(clipseg_ray, urls, tmp_path):
    page = tmp_path / "page.html"
    code, output, errors = clipseg_ray("compare", *urls, "-o", page)
    assert (code, errors) == (0, "")
    (row,) = ([cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if line[0] == "│")
    (found,) = compare(*urls).agreements
    assert row[:4] == ["dog", "12", str(found.either), f"{found.iou:.4f}".rstrip("0")]
    assert output.endswith(f"wrote {page}\n")
    assert page.stat().st_size > 10_000


def test_a_check_fails_where_masks_differ_too_much_or_some_are_not_there(clipseg_ray, urls):
    (found,) = compare(*urls).agreements
    assert clipseg_ray("compare", *urls, "--fail-below", found.iou - 0.001)[0] == 0
    code, output, errors = clipseg_ray("compare", *urls, "--fail-below", f"{found.iou + 0.001:.4f}")
    assert code == 1
    assert "dog" in output
    assert errors == f"mean IoU below {found.iou + 0.001:.4f} in 1 of 1: dog {found.iou:.4f}\n"
    a_chunk = sorted(Path(urls[1], "masks").rglob("*.parquet"))[0]
    a_chunk.unlink()
    code, output, errors = clipseg_ray("compare", *urls, "--fail-below", "0.01")
    assert (code, errors) == (1, "not everything could be compared: see above\n")
    assert output.endswith("B has no answer for dog (4 images)\n")
    assert clipseg_ray("compare", *urls, "--fail-below", "1.5")[0] == 2
    shutil.rmtree(f"{urls[1]}/masks")
    code, _, errors = clipseg_ray("compare", *urls)
    assert (code, errors.partition(":")[0]) == (2, "error")
    assert "nothing has been written yet" in errors
