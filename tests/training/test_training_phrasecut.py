"""PhraseCut in its release layout."""

import json

import numpy as np
import pytest
from PIL import Image

from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.releases.phrasecut import EXCLUDED
from clipseg_ray.queries.modes import parse_mode
from clipseg_ray.training.batches import Batches
from clipseg_ray.training.config import SamplingConfig, TrainConfig
from clipseg_ray.training.loop import train
from clipseg_ray.training.phrasecut import PhraseCut
from clipseg_ray.training.sampling import Sampler
from clipseg_ray.training.saving import imagenet_preprocessing
from clipseg_ray.training.starting import start
from tests.training import release, world


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phrasecut") / "VGPhraseCut_v0"
    release.write(folder)
    return folder


def test_phrases_and_masks_by_image(folder):
    collection = PhraseCut(str(folder), "train")
    truth = collection.truth
    assert len(collection) == 3  # the excluded image is left out, and the task without structure
    assert [[truth.queries[truth.query_t[t]].query_id for t in truth.of(n)] for n in range(3)] == [
        ["white dog", "man riding horse"],
        ["white dog", "wheels"],
        ["black cat"],
    ]
    dog, wheels = collection.masks(truth.of(1))
    expected = np.zeros((48, 80), bool)
    expected[6:27, 4:25] = True  # corners cut to whole pixels, border included
    np.testing.assert_array_equal(dog, expected)
    assert wheels.sum() == 2 * 7 * 7 + 10 * 10  # two polygons of one instance, one of another
    assert collection.image(2).shape == (60, 40, 3)  # a grey JPEG
    assert len(EXCLUDED) == 17


def test_a_phrase_is_not_absent_where_its_category_was_named(folder):
    truth = PhraseCut(str(folder), "train").truth
    number = {query.query_id: n for n, query in enumerate(truth.queries)}
    assert not truth.lacks(0, number["white dog"])
    assert truth.lacks(0, number["black cat"])
    black_dog = release.task(5, [1], "black dog", "dog", [[release.square(0, 0, 5)]])
    tasks = [*json.loads((folder / "refer_train.json").read_text()), black_dog]
    other = folder.parent / "other"
    other.mkdir()
    (other / "refer_train.json").write_text(json.dumps(tasks))
    truth = PhraseCut(str(other), "train", str(folder / "images")).truth
    number = {query.query_id: n for n, query in enumerate(truth.queries)}
    assert not truth.lacks(0, number["black dog"])  # image 3, with its white dog, may hold a black one


def test_held_out_word_forms_drop_phrases(folder):
    truth = PhraseCut(str(folder), "train", held_out=["wheel", "riding"]).truth
    assert {query.query_id for query in truth.queries} == {"white dog", "black cat"}


def test_squares_are_cut_around_the_phrase(folder):
    collection, preprocessing = PhraseCut(str(folder), "train"), imagenet_preprocessing(48)
    sampler = Sampler(collection.truth, SamplingConfig(negatives=0.0, support_share=1.0), 0)
    batches = Batches(collection, preprocessing, parse_mode("crop_blur_highlight"), SamplingConfig(), threads=1)
    draws = [sampler.draw(position) for position in range(5)]
    batch = batches.batch(draws)
    assert batch.pixels.shape == (5, 48, 48, 3)
    assert batch.labels.flatten(1).any(1).all()
    dogs = [n for n, draw in enumerate(draws) if "white dog" in draw.rows[0].text]
    assert batch.prompt_row_m.tolist() == dogs  # the others' phrases are unique
    for n, draw in enumerate(draws):  # what is white is what is marked
        if draw.image != 2 and len(collection.truth.of(draw.image)) == 2:
            inside = batch.pixels[n][batch.labels[n]].float().mean()
            assert inside > 180


def test_one_training_runs_over_it(folder, tmp_path):
    values = world.settings(folder, str(tmp_path / "out"), optimiser={"steps": 2})
    values["data"] |= {"format": "phrasecut"}
    values["sampling"] = {}
    records = []
    train(TrainConfig.parse(values), report=records.append)
    assert len(records) == 2


def test_what_is_missing_is_named(folder, tmp_path):
    with pytest.raises(UserError, match=r"refer_valid\.json: not found"):
        PhraseCut(str(folder), "valid")
    (tmp_path / "refer_train.json").write_text('[{"image_id": 1, "phrase": "a", "phrase_structure": {}}]')
    with pytest.raises(UserError, match="no Polygons; refer_input"):
        PhraseCut(str(tmp_path), "train")
    (tmp_path / "refer_train.json").write_text("[")
    with pytest.raises(UserError, match="not valid JSON"):
        PhraseCut(str(tmp_path), "train")
    Image.new("RGB", (4, 4)).save(tmp_path / "1.jpg")
    tasks = [release.task(2, [1], "a", "a", [[release.square(0, 0, 2)]])]
    (tmp_path / "refer_train.json").write_text(json.dumps(tasks))
    with pytest.raises(UserError, match=r"2\.jpg: not found"):
        PhraseCut(str(tmp_path), "train", str(tmp_path)).image(0)


def test_the_decoder_alone_trains_over_a_checkpoints_clip(checkpoint_dir, folder, tmp_path):
    values = world.settings(folder, str(tmp_path / "out"), optimiser={"steps": 2, "contrastive_weight": 0.0})
    values["data"] |= {"format": "phrasecut"}
    values["sampling"] = {}
    model = {"checkpoint": str(checkpoint_dir), "image_size": 48, "extract_layers": [0, 1, 2], "reduce_dim": 32}
    values["model"] = {**model, "decoder_intermediate_size": 128}
    config = TrainConfig.parse(values)
    before = start(config.model, [], 0)
    assert before.frozen_clip
    train(config)
    from clipseg_ray.model.checkpoint import load

    after = load(str(tmp_path / "out" / "model"))
    assert after.preprocessing.size == 48
    own, trained = before.model.state_dict(), after.weights.tensors
    same = {name for name in own if bool((own[name] == trained[name]).all())}
    assert {name for name in own if name.startswith("clip.")} <= same
    assert "decoder.reduces.0.weight" not in same
