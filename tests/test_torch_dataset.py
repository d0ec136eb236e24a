import gzip
import pickle
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

import clipseg_ray
from clipseg_ray.errors import UserError
from clipseg_ray.storage import Store
from tests.made import make
from tests.pipeline import world
from tests.tars import tar_of


def test_items_join_pictures_and_masks(made):
    with clipseg_ray.open(made) as masks:
        dataset = masks.torch(["sit", "a red circle"], size=48)
        expected = masks.to_arrow("query_id = 'circle'")
    assert len(dataset) == 11
    item = dataset[3]
    assert (item["image"].dtype, tuple(item["image"].shape)) == (torch.uint8, (3, 48, 48))
    assert (item["masks"].dtype, tuple(item["masks"].shape)) == (torch.bool, (2, 48, 48))
    assert item["missing"].tolist() == [False, False]
    row = expected.filter(np.array([each == item["image_id"] for each in expected["image_id"].to_pylist()]))
    with clipseg_ray.open(made) as masks:
        assert (item["masks"][1].numpy() == masks.decode(row, (48, 48))[0]).all()
    assert len({dataset[index]["image_id"] for index in range(len(dataset))}) == 11
    assert dataset[-1]["image_id"] == dataset[10]["image_id"]


def test_present_is_evaluations_word(made, output):
    """Found or not where it was asked, missing where it was not; a small mask is present at any size."""
    with clipseg_ray.open(made) as masks:
        area = dict(masks.sql("SELECT image_id, area FROM masks WHERE query_id = 'circle'").fetchall())
        assert set(map(bool, area.values())) == {True, False}
        dataset = masks.torch(["circle", "sit"])
        assert dataset[0]["image"].shape == (3, 96, 96), "the side of what the model was given"
        for item in (dataset[index] for index in range(11)):
            assert item["present"][0] == (area[item["image_id"]] > 0)
        assert [item["present"].tolist() for item in masks.torch(["circle", "sit"], 1)][:11] == [
            dataset[index]["present"].tolist() for index in range(11)
        ]
    folder = Path(output, "masks")
    for part in folder.glob("*/*.parquet"):
        table = pq.read_table(part, partitioning=None)
        pq.write_table(table.filter(pc.not_equal(table["query_id"], "sit")), part)
    with clipseg_ray.open(output, allow_source=str(Path(made).parent)) as masks:
        item = masks.torch(["circle"])[0]
        assert item["missing"].tolist() == [False]
        item = masks.torch(["sit", "circle"])[0]
    assert (item["missing"].tolist(), item["present"][0].item(), item["masks"][0].any().item()) == (
        [True, False],
        False,
        False,
    )


def test_batches_in_loader_processes(made):
    with clipseg_ray.open(made) as masks:
        dataset = pickle.loads(pickle.dumps(masks.torch(["sit"], size=32)))
    loader = torch.utils.data.DataLoader(dataset, batch_size=4, num_workers=1)
    batches = list(loader)
    assert [tuple(batch["image"].shape) for batch in batches] == [(4, 3, 32, 32), (4, 3, 32, 32), (3, 3, 32, 32)]
    assert sum((batch["masks"].any((2, 3)).sum() for batch in batches), start=torch.tensor(0)) > 0


def test_refusals(made, checkpoint_dir, tmp_path):
    with clipseg_ray.open(made) as masks, pytest.raises(UserError, match="no query 'square'"):
        masks.torch(["square"], size=32)
    Store.of(str(tmp_path)).put("in/s.tar.gz", gzip.compress(tar_of({"a.jpg": world.jpeg(1)})))
    table = world.write_table(tmp_path / "queries.jsonl")
    make(world.settings(f"{tmp_path}/in", f"{tmp_path}/out", checkpoint_dir, table))
    with clipseg_ray.open(f"{tmp_path}/out") as masks, pytest.raises(UserError, match="compressed tars"):
        masks.torch(["sit"], size=32)
