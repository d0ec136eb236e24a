import json
import subprocess
import sys

import pytest
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from clipseg_ray.errors import UserError
from clipseg_ray.pixels.preprocessing import Preprocessing

CONFIG = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "size": {"height": 352, "width": 352},
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def test_reads_a_full_config():
    assert Preprocessing.from_config(CONFIG) == Preprocessing(
        size=352, resample=3, rescale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )


def test_reads_what_transformers_saves(tmp_path):
    processor = ViTImageProcessorPil(size=96, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6], resample=3)
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert Preprocessing.from_config(saved) == Preprocessing(
        size=96, resample=3, rescale=1 / 255, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)
    )


def test_older_checkpoints_leave_out_what_transformers_defaults():
    old = {key: CONFIG[key] for key in ("size", "image_mean", "image_std")}
    assert Preprocessing.from_config(old) == Preprocessing.from_config(CONFIG | {"resample": 2})


@pytest.mark.parametrize("size", [224, {"height": 224, "width": 224}, {"shortest_edge": 224}])
def test_every_way_to_state_a_square(size):
    assert Preprocessing.from_config(CONFIG | {"size": size}).size == 224


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", None),
        ("size", {"height": 352, "width": 224}),
        ("size", {"shortest_edge": 224, "longest_edge": 400}),
        ("size", {"height": 352}),
        ("size", 0),
        ("size", True),
        ("size", "352"),
        ("size", 10**6),
        ("size", {"shortest_edge": 10**400}),
        ("do_resize", False),
        ("do_rescale", False),
        ("do_normalize", False),
        ("do_center_crop", True),
        ("do_pad", True),
        ("resample", 9),
        ("resample", "bilinear"),
        ("rescale_factor", 0),
        ("rescale_factor", "1/255"),
        ("image_mean", None),
        ("image_mean", [0.5]),
        ("image_mean", 0.5),
        ("image_std", None),
        ("image_std", [0.5, 0.5, 0]),
        ("image_std", [0.5, 0.5, float("nan")]),
    ],
)
def test_names_the_key_it_cannot_use(key, value):
    with pytest.raises(UserError, match=rf"preprocessor_config\.json: {key} ") as caught:
        Preprocessing.from_config(CONFIG | {key: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["size", "image_mean", "image_std"])
def test_names_the_key_that_is_missing(key):
    config = {name: value for name, value in CONFIG.items() if name != key}
    with pytest.raises(UserError, match=f"{key} is missing"):
        Preprocessing.from_config(config)


def test_json_round_trip():
    preprocessing = Preprocessing.from_config(CONFIG)
    assert Preprocessing.from_json(json.loads(json.dumps(preprocessing.to_json()))) == preprocessing


def test_needs_no_torch():
    code = "import sys, clipseg_ray.pixels.preprocessing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
