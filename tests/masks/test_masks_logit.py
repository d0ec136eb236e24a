import math

import numpy as np
import pytest

from clipseg_ray.errors import UserError
from clipseg_ray.masks.logit import logit_of


@pytest.mark.parametrize("probability", [0.02, 0.3, 0.5, 0.98])
def test_logit_of_is_the_inverse_of_sigmoid(probability):
    assert 1 / (1 + math.exp(-logit_of(probability))) == pytest.approx(probability, rel=1e-14)


@pytest.mark.parametrize("probability", [0, 1, -0.1, 1.5, math.nan])
def test_logit_of_refuses_what_is_no_threshold(probability):
    with pytest.raises(UserError, match="between 0 and 1"):
        logit_of(probability)


def test_logit_of_an_array_keeps_shape_and_type_and_names_what_is_no_threshold():
    found = logit_of(np.full((2, 3), 0.25, np.float32))
    assert found.dtype == np.float32
    assert found.tolist() == np.full((2, 3), np.log(np.float32(1 / 3))).tolist()
    with pytest.raises(UserError, match=r"threshold 1\.5: "):
        logit_of(np.array([0.5, 1.5]))


def test_logits_of_thresholds_are_those_that_datasets_were_made_with():
    """The two ways to write it differ in the last bit of float64, which float32 does not see."""
    thresholds = np.arange(1, 10**5) / 10**5
    before = np.array([math.log(t) - math.log1p(-t) for t in thresholds], np.float32)
    assert (logit_of(thresholds).astype(np.float32) == before).all()
