"""Images in another light, and pictures cut as images are."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from clipseg_ray.queries.modes import parse_mode
from clipseg_ray.training.batches import Batches
from clipseg_ray.training.colour_jitter import jittered
from clipseg_ray.training.config import SamplingConfig
from clipseg_ray.training.cropping import random_crop
from clipseg_ray.training.sampling import Sampler
from clipseg_ray.training.saving import imagenet_preprocessing
from clipseg_ray.training.truth_shards import TruthShards


def expected(pixels: np.ndarray, seed: int) -> np.ndarray:
    """ColorJitter(0.5, 0.5, 0.2, 0.05) by its formulas, in floating point, with the draws of ``seed``."""
    rng = np.random.default_rng(seed)
    brightness, contrast, saturation = (rng.uniform(1 - amount, 1 + amount) for amount in (0.5, 0.5, 0.2))
    turn = rng.uniform(-0.05, 0.05)
    image = pixels / 255
    for change in rng.permutation(4):
        grey = image @ [0.299, 0.587, 0.114]
        if change == 0:
            image = image * brightness
        elif change == 1:
            image = contrast * image + (1 - contrast) * grey.mean()
        elif change == 2:
            image = saturation * image + (1 - saturation) * grey[..., None]
        else:
            hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in image.reshape(-1, 3)]
            turned = [colorsys.hsv_to_rgb((h + turn) % 1, s, v) for h, s, v in hsv]
            image = np.array(turned).reshape(image.shape)
        image = image.clip(0, 1)
    return image * 255


def test_colours_are_those_of_the_formulas():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    for seed in range(40):
        difference = np.abs(jittered(pixels, np.random.default_rng(seed)) - expected(pixels, seed))
        assert difference.max() < 16, seed  # four roundings, and hues of 256 steps
        assert difference.mean() < 3, seed
    brightnesses = [
        jittered(np.full((2, 2, 3), 100, np.uint8), np.random.default_rng(seed)).mean() for seed in range(400)
    ]
    assert 48 <= min(brightnesses) < 55
    assert 145 < max(brightnesses) <= 152


def test_a_part_has_the_images_proportions_where_that_is_asked():
    mask = np.zeros((120, 60), bool)
    mask[100:, 50:] = True
    for seed in range(30):
        rows, columns = random_crop(mask, np.random.default_rng(seed), (0.5, 0.9), square=False)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        assert 60 <= height <= 108
        assert height == pytest.approx(2 * width, abs=1.5)
        assert mask[rows, columns].any()  # of 50 draws one at least reaches the corner


@pytest.mark.parametrize("shape", ["square", "image"])
def test_pictures_are_cut_and_coloured_as_images_are(scenes, shape):
    collection, preprocessing = TruthShards([str(scenes)]), imagenet_preprocessing(48)

    def prompts(**settings):
        config = SamplingConfig(negatives=0.0, crop_shape=shape, **settings)
        sampler = Sampler(collection.truth, config, 0)
        batches = Batches(collection, preprocessing, parse_mode("overlay"), config, threads=1)
        draws = [draw for draw in map(sampler.draw, range(40)) if draw.rows[0].support is not None]
        return batches.batch(draws)

    whole, cut, coloured = prompts(), prompts(crop_scale=(0.5, 0.7)), prompts(colour_jitter=True)
    assert len(whole.prompts) == len(cut.prompts) == len(coloured.prompts) > 20
    shown = [(batch.prompts != batch.prompts[:, :, :1, :1]).float().mean() for batch in (whole, cut)]
    assert shown[1] > 1.3 * shown[0]  # what is marked fills more of the picture
    different = (whole.prompts - coloured.prompts).abs().flatten(1).amax(1) > 0.05
    assert different.float().mean() > 0.9


def test_a_thing_too_small_for_any_square_is_shown_whole(scenes, monkeypatch):
    collection = TruthShards([str(scenes)])
    config = SamplingConfig(negatives=0.0, crop_scale=(0.1, 0.1), phrases_per_image=2)
    batches = Batches(collection, imagenet_preprocessing(48), parse_mode("overlay"), config, threads=1)
    sampler = Sampler(collection.truth, config, 0)
    draws = [draw for draw in map(sampler.draw, range(10)) if all(row.support is not None for row in draw.rows)]
    dot = np.zeros((64, 64), bool)
    dot[0, 0] = True
    monkeypatch.setattr(collection, "masks", lambda truths: np.stack([dot] * len(truths)))
    assert len(batches.batch(draws).prompts) == 2 * len(draws)
