import gzip
import pickle

import numpy as np
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
    assert item["present"].tolist() == [True, True]
    row = expected.filter(np.array([each == item["image_id"] for each in expected["image_id"].to_pylist()]))
    with clipseg_ray.open(made) as masks:
        assert (item["masks"][1].numpy() == masks.decode(row, (48, 48))[0]).all()
    assert len({dataset[index]["image_id"] for index in range(len(dataset))}) == 11
    assert dataset[-1]["image_id"] == dataset[10]["image_id"]


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
