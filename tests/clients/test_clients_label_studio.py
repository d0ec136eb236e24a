"""Label Studio's own converter reads the brush masks of an export."""

import json
from pathlib import Path

import numpy as np
import pytest

from clipseg_ray.report.export import Form, command
from tests.report import world
from tests.report.world import Answer, Picture

pytestmark = pytest.mark.clients


def test_label_studio_s_converter_decodes_what_was_found(tmp_path: Path) -> None:
    from label_studio_converter import brush

    mask = world.ellipse(0.4, 0.6, 0.3, 0.2)
    picture = Picture("a.jpg", world.GRID, world.GRID, answers={"dog": Answer(mask, 0.9)})
    output = world.write(tmp_path, [world.query("dog")], [[picture]])
    command.export(output, str(tmp_path / "ls"), Form.LABEL_STUDIO, None)
    ((task,),) = (json.loads(file.read_text()) for file in (tmp_path / "ls").glob("tasks-*.json"))
    (result,) = task["predictions"][0]["result"]
    given = {**result, **result["value"]}  # as the converter has it after parsing an export
    ((name, layer),) = brush.decode_from_annotation(result["from_name"], [given]).items()
    assert name == "masks-dog-0"
    np.testing.assert_array_equal(layer == 255, mask)
