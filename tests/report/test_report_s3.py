"""Reports of a dataset on S3, written to S3."""

import io
import json
from pathlib import Path

import pyarrow.parquet as pq

from clipseg_ray.report import card, gallery
from clipseg_ray.report.export import Form, Images, command
from clipseg_ray.results import layout
from clipseg_ray.storage import Store
from tests.report import world


def test_card_gallery_and_exports_on_s3(tmp_path: Path, bucket: str) -> None:
    local = Store(world.write(tmp_path, [world.query("dog")], world.scattered(2, 5, ["dog"]), chunk_images=2))
    store = Store(f"{bucket}/out")
    for entry in local.list():
        store.put(entry.path, local.get(entry.path))

    assert card.write(store)
    assert b"# " in store.get(layout.CARD)
    assert gallery.write(store.url, f"{bucket}/page", allow_source=[str(tmp_path)]) == f"{bucket}/page/index.html"
    assert b"data:image/webp;base64," in Store(f"{bucket}/page").get("index.html")

    said = command.export(store.url, f"{bucket}/found.json", Form.COCO, None)
    assert said.startswith(f"wrote {bucket}/found.json: 10 images")
    assert len(json.loads(Store(bucket).get("found.json"))["images"]) == 10
    command.export(store.url, f"{bucket}/hf", Form.HUGGINGFACE, None, allow_source=[str(tmp_path)])
    assert pq.read_table(io.BytesIO(Store(f"{bucket}/hf").get("data/train-00000.parquet"))).num_rows == 10
    command.export(store.url, f"{bucket}/maps", Form.LABEL_MAPS, None)
    assert sum(1 for _ in Store(f"{bucket}/maps").list("labels")) == 10

    command.export(store.url, f"{bucket}/coco", Form.COCO, None, allow_source=[str(tmp_path)], images=Images.COPY)
    document = json.loads(Store(f"{bucket}/coco").get("instances.json"))
    assert all(Store(f"{bucket}/coco/images").exists(each["file_name"]) for each in document["images"])
    command.export(store.url, f"{bucket}/ls", Form.LABEL_STUDIO, None, allow_source=[str(tmp_path)])
    tasks = json.loads(Store(f"{bucket}/ls").get("tasks-00000.json"))
    assert tasks[0]["data"]["image"] == f"{bucket}/ls/images/s-000.tar/0000.png"
    assert all(Store(task["data"]["image"]).exists("") for task in tasks)
