import numpy as np

from clipseg_ray.training.cropping import random_crop


def test_the_square_shows_enough_of_the_mask():
    for shape, place in (((40, 100), np.s_[:, 80:]), ((100, 40), np.s_[:30, :])):
        mask = np.zeros(shape, bool)
        mask[place] = True
        for seed in range(20):
            rows, columns = random_crop(mask, np.random.default_rng(seed))
            cut = mask[rows, columns]
            assert cut.shape == (40, 40)
            assert cut.sum() > 0.05 * mask.size


def test_of_a_mask_too_small_the_best_square_is_kept():
    mask = np.zeros((10, 200), bool)
    mask[:, 150:155] = True
    for seed in range(5):
        rows, columns = random_crop(mask, np.random.default_rng(seed))
        assert mask[rows, columns].any()


def test_squares_differ_and_a_square_picture_stays_whole():
    mask = np.ones((30, 90), bool)
    starts = {random_crop(mask, np.random.default_rng(seed))[1].start for seed in range(20)}
    assert len(starts) > 10
    assert random_crop(np.zeros((30, 30), bool), np.random.default_rng(0)) == (slice(0, 30), slice(0, 30))


def test_a_smaller_square_still_shows_a_small_thing():
    mask = np.zeros((60, 60), bool)
    mask[50:56, 4:10] = True  # 1 % of the image
    sides = set()
    for seed in range(20):
        rows, columns = random_crop(mask, np.random.default_rng(seed), (0.5, 0.8))
        assert mask[rows, columns].shape == (rows.stop - rows.start,) * 2
        assert mask[rows, columns].any()
        sides.add(rows.stop - rows.start)
    assert min(sides) >= 30
    assert max(sides) <= 48
    assert len(sides) > 5
