from pathlib import Path

import pytest

from tests.training import world


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 small scenes in two truth shards."""
    folder = tmp_path_factory.mktemp("scenes")
    world.write_shards(folder, shards=2, images=20, side=64)
    return folder
