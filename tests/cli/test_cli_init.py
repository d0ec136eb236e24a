"""The verb ``init``."""

from pathlib import Path

from clipseg_ray.storage import Store
from tests.pipeline import world


def test_init_writes_a_configuration_and_says_what_comes_next(clipseg_ray, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Store.of(str(tmp_path / "photos")).put("a.jpg", world.jpeg(1))
    code, output, errors = clipseg_ray("init", "photos")
    assert (code, errors) == (0, "")
    assert output.splitlines()[0].startswith("wrote photos.yaml: 1 images, ")
    assert output.splitlines()[1] == "Next: clipseg-ray plan photos.yaml"
    code, output, errors = clipseg_ray("plan", "photos.yaml")
    assert (code, errors) == (0, "")
    before = Path("photos.yaml").read_text()
    assert clipseg_ray("init", "photos")[0] == 2
    assert Path("photos.yaml").read_text() == before
    assert clipseg_ray("init", "photos", "-o", "other.yaml")[0] == 0
