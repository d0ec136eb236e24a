"""From a probability to the logit that stands for it."""

import numpy as np

from clipseg_ray.errors import UserError


def logit_of(probability: float | np.ndarray) -> np.ndarray:
    """log(p / (1 − p)), whose sigmoid is p, in the shape and the float type of ``probability``.

    Raises UserError unless 0 < p < 1: what is not is a threshold that a person chose.
    """
    values = np.asarray(probability)
    if len(bad := values[~((values > 0) & (values < 1))]):
        raise UserError(f"threshold {bad[0]:g}: must lie strictly between 0 and 1; 0.5 is the usual choice")
    return np.log(values / (1 - values))
