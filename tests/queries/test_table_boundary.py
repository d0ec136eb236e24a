"""What a query table may name: one from elsewhere names nothing of this machine."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipseg_ray.errors import UserError
from clipseg_ray.queries.table import load_queries
from clipseg_ray.storage import Store


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    return path


def test_a_table_from_elsewhere_names_no_file_of_this_machine(picture: Path) -> None:
    store = Store.of("memory://tables-of-others")
    for number, url in enumerate((str(picture), f"file://{picture}", f"local://{picture}")):
        name = f"{number}.csv"
        store.put(name, f"query_id,image\ncat,{url}\n".encode())
        with pytest.raises(UserError, match="names no file of this machine"):
            load_queries(store.url_of(name), None, 0.5)


def test_a_table_of_this_machine_names_what_it_likes(picture: Path, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    table = tmp_path / "tables" / "queries.csv"
    Store.of("memory://pictures").put("cat.png", picture.read_bytes())
    table.write_text(f"query_id,image,mode\na,{picture},whole\nb,../cat.png,whole\nc,memory://pictures/cat.png,whole\n")
    assert [len(query.supports) for query in load_queries(str(table), None, 0.5)] == [1, 1, 1]


def test_a_table_from_elsewhere_names_what_lies_beside_it(picture: Path) -> None:
    store = Store.of("memory://tables-with-pictures")
    store.put("cat.png", picture.read_bytes())
    store.put("queries.csv", b"query_id,image,mode\ncat,cat.png,whole\n")
    (query,) = load_queries(store.url_of("queries.csv"), None, 0.5)
    assert len(query.supports) == 1
