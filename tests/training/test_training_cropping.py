import numpy as np

from clipseg_ray.training.cropping import square_crop


def test_the_square_shows_enough_of_the_mask():
    for shape, place in (((40, 100), np.s_[:, 80:]), ((100, 40), np.s_[:30, :])):
        mask = np.zeros(shape, bool)
        mask[place] = True
        for seed in range(20):
            rows, columns = square_crop(mask, np.random.default_rng(seed))
            cut = mask[rows, columns]
            assert cut.shape == (40, 40)
            assert cut.sum() > 0.05 * mask.size


def test_of_a_mask_too_small_the_best_square_is_kept():
    mask = np.zeros((10, 200), bool)
    mask[:, 150:155] = True
    for seed in range(5):
        rows, columns = square_crop(mask, np.random.default_rng(seed))
        assert mask[rows, columns].any()


def test_squares_differ_and_a_square_picture_stays_whole():
    mask = np.ones((30, 90), bool)
    starts = {square_crop(mask, np.random.default_rng(seed))[1].start for seed in range(20)}
    assert len(starts) > 10
    assert square_crop(np.zeros((30, 30), bool), np.random.default_rng(0)) == (slice(0, 30), slice(0, 30))
