"""Truth shards are ordinary WebDataset input with every mask beside the image."""

import io
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from clipseg_ray.demo.mosaics import mosaic
from clipseg_ray.demo.scenes import scene
from clipseg_ray.demo.shards import write_shards
from clipseg_ray.demo.vocabulary import HELD_OUT_PAIRS
from clipseg_ray.sources.base import Shard
from clipseg_ray.sources.listing import discover
from clipseg_ray.sources.webdataset import WebDataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, shards=2, images=4, seed=40)
    return folder


def _samples(folder):
    listing = discover([str(folder)], None)
    source = WebDataset(listing.root)
    return [sample for member in listing.objects for sample in source.samples(Shard.of_object(member))]


def test_our_source_reads_pictures_and_truth(folder):
    samples = _samples(folder)
    assert [sample.key for sample in samples] == [f"{seed:09d}" for seed in range(40, 48)]
    for seed, sample in zip(range(40, 48), samples, strict=True):
        shown = scene(seed)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(sample.image))), shown.pixels_hwc)
        fields = sample.fields
        assert (fields["height"], fields["width"]) == (352, 352)
        assert fields["phrases"] == [text for truth in shown.truth for text in truth.texts]
        assert [one["query_id"] for one in fields["truth"]] == [truth.query_id for truth in shown.truth]
        for one, truth in zip(fields["truth"], shown.truth, strict=True):
            assert (one["kind"], tuple(one["texts"])) == (truth.kind, truth.texts)
            assert np.array_equal(coco.decode({"size": [352, 352], "counts": one["counts"]}), truth.mask_hw)
        for one, instance in zip(fields["instances"], shown.instances, strict=True):
            rle = {"size": [352, 352], "counts": one["counts"]}
            assert np.array_equal(coco.decode(rle), instance.mask_hw)
            assert one["bbox"] == coco.toBbox(rle).tolist()
            assert (one["name"], one["colour"], one["pattern"]) == (instance.name, instance.colour, instance.pattern)


def test_same_arguments_same_bytes_and_held_out_pairs_on_request(folder, tmp_path):
    write_shards(tmp_path / "again", shards=2, images=4, seed=40)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["scenes-00000.tar", "scenes-00001.tar"]
    assert all((folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in names)
    write_shards(tmp_path / "held", shards=1, images=1, seed=40, draw=partial(scene, held_out_pairs=True))
    (held,) = _samples(tmp_path / "held")
    assert {(one["colour"], one["name"]) for one in held.fields["instances"]} & HELD_OUT_PAIRS


def test_the_command_writes_them_too(folder, tmp_path):
    command = [sys.executable, "-m", "clipseg_ray.demo.shards", str(tmp_path / "out"), "--scenes", "4", "--seed", "40"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.split() == [str(tmp_path / "out" / "scenes-00000.tar")]
    assert (tmp_path / "out" / "scenes-00000.tar").read_bytes() == (folder / "scenes-00000.tar").read_bytes()


def test_the_command_draws_at_any_side_and_mosaics(tmp_path):
    command = [sys.executable, "-m", "clipseg_ray.demo.shards", str(tmp_path), "--scenes", "1", "--seed", "7"]
    subprocess.run([*command, "--side", "192", "--mosaic", "3"], check=True, capture_output=True)
    (sample,) = _samples(tmp_path)
    shown = mosaic(7, across=3, side=192)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(sample.image))), shown.pixels_hwc)
    assert (sample.fields["height"], sample.fields["width"]) == (192, 192)
    for one, truth in zip(sample.fields["truth"], shown.truth, strict=True):
        assert np.array_equal(coco.decode({"size": [192, 192], "counts": one["counts"]}), truth.mask_hw)
    for wrong in (["--side", "193", "--mosaic", "3"], ["--side", "96", "--mosaic", "3"], ["--mosaic", "0"]):
        refused = subprocess.run([*command, *wrong], capture_output=True, text=True)
        assert refused.returncode == 2
        assert "the side must be a multiple" in refused.stderr
