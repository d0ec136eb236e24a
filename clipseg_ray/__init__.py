"""clipseg-ray: images and queries in, a table of masks out, as if the cluster were not there.

Axis legend for tensor and array names (``logits_bqhw`` is image × query × height × width):

=====  =========================================================
``b``  image in a batch
``q``  query
``p``  (image, query) pair, image-major
``h``  height, ``w`` width (``wh`` is transposed: column-major)
``t``  token of the vision transformer (CLS first)
``d``  channel
``c``  width of a conditional embedding (512 for the released weights)
``n``  byte of a packed bit row
=====  =========================================================
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _TYPE_CHECKING:
    from clipseg_ray.dataset import Masks, open
    from clipseg_ray.inference.prediction import Prediction
    from clipseg_ray.inference.predictor import Predictor
    from clipseg_ray.results.sql_functions import register
    from clipseg_ray.torch_dataset import MasksDataset
    from clipseg_ray.upkeep.rethreshold import rethreshold

__version__ = "0.1.0"
__all__ = ["Masks", "MasksDataset", "Prediction", "Predictor", "open", "register", "rethreshold"]

_HOMES = {
    "Masks": "clipseg_ray.dataset",
    "MasksDataset": "clipseg_ray.torch_dataset",
    "Prediction": "clipseg_ray.inference.prediction",
    "Predictor": "clipseg_ray.inference.predictor",
    "open": "clipseg_ray.dataset",
    "register": "clipseg_ray.results.sql_functions",
    "rethreshold": "clipseg_ray.upkeep.rethreshold",
}


def __getattr__(name: str) -> _Any:
    """What this package offers to programs, loaded on first use: importing it alone stays cheap."""
    if name in _HOMES:
        return getattr(_import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'clipseg_ray' has no attribute {name!r}")
