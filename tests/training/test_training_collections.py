"""Truth shards, read back pixel by pixel."""

import gzip
import io
import json

import numpy as np
import pytest
from PIL import Image

from clipseg_ray.errors import UserError
from clipseg_ray.training.squashing import cover, squash_masks
from clipseg_ray.training.truth_shards import TruthShards
from tests.tars import tar_of
from tests.training import world


def write(folder, sidecar, size=(8, 6)):
    sink = io.BytesIO()
    Image.new("RGB", size, "red").save(sink, "JPEG")
    (folder / "a.tar").write_bytes(tar_of({"1.jpg": sink.getvalue(), "1.json": json.dumps(sidecar).encode()}))
    return str(folder)


def test_pictures_and_masks_are_those_of_the_scenes(scenes):
    collection = TruthShards([str(scenes)])
    assert len(collection) == 40
    for number in (0, 19, 20, 39):
        pixels, truth = world.scene(number, 64)
        assert np.abs(collection.image(number).astype(int) - pixels).mean() < 6  # JPEG
        held = [collection.truth.queries[q] for q in collection.truth.query_t[list(collection.truth.of(number))]]
        assert [(query.query_id, query.kind, list(query.texts)) for query in held] == [
            (row["query_id"], row["kind"], row["texts"]) for row in truth
        ]
        masks = collection.masks(collection.truth.of(number))
        assert masks.shape == (len(truth), 64, 64)
        named = {query.query_id: mask for query, mask in zip(held, masks, strict=True)}
        for query_id, mask in named.items():
            if "-" in query_id and query_id != "has-corners":
                assert not (mask & ~named[query_id.split("-")[1]]).any()  # a red circle is a circle


def test_held_out_words_leave_texts_and_then_queries_out(scenes):
    collection = TruthShards([str(scenes)], held_out=["Circle", "has"])
    texts = {text for query in collection.truth.queries for text in query.texts}
    assert "something with corners" in texts
    assert not any("circle" in text or "has" in text for text in texts)
    assert collection.fingerprint != TruthShards([str(scenes)]).fingerprint
    assert len(TruthShards([str(scenes)], limit=23)) == 23


def test_a_sample_that_is_none_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.tar/1: no truth in its JSON"):
        TruthShards([write(tmp_path, {"height": 6, "width": 8})])
    (tmp_path / "b").mkdir()
    packed = tmp_path / "b" / "a.tar.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
    with pytest.raises(UserError, match="no truth in its JSON"):
        TruthShards([str(packed)])
    write(tmp_path, {"truth": [], "height": 6, "width": 8})
    packed.write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
    with pytest.raises(UserError, match=r"a\.tar\.gz: compressed; training reads images in no order, so unpack it"):
        TruthShards([str(packed)])


def test_squashed_masks_keep_pixels_that_were_half_inside():
    mask = np.zeros((1, 8, 8), bool)
    mask[0, :4, :3] = True  # the second column of 2×2 blocks is half inside
    assert squash_masks(mask, 4)[0].sum() == 4
    mask[0, 6, 6] = True  # a quarter of its block
    assert squash_masks(mask, 4)[0].sum() == 4


def test_cover_is_the_share_of_each_patch_inside():
    mask = np.zeros((1, 12, 12), bool)
    mask[0, :6, :3] = True  # of patches of 4×4: three quarters of the first, and half as much below it
    np.testing.assert_allclose(cover(mask, 3)[0], [0.75, 0, 0, 0.375, 0, 0, 0, 0, 0], atol=0.003)
    shifted = np.zeros((1, 11, 11), bool)
    shifted[0, :, 5:] = True  # half a pixel into the first patch of 5.5; border pixels count whole in both
    np.testing.assert_allclose(cover(shifted, 2)[0], [1 / 6, 1, 1 / 6, 1], atol=0.003)
