"""What comes out of the engine: masks with their scores, some rows at a time."""

from dataclasses import dataclass, field

import numpy as np

from clipseg_ray.masks.competition import Contest


@dataclass(frozen=True)
class Met:
    """A contest on one image whose queries are rows of a block, from ``start`` on in the order of its outputs.

    logits_mwh: float32 [m, w, h] of its prompts, where logits were wanted.
    """

    contest: Contest
    start: int
    logits_mwh: np.ndarray | None


@dataclass(kw_only=True)
class Block:
    """Some rows of masks, on the host.

    grid: (height, width) of its masks. image_index_p, query_index_p: int64, into the images and the prompts given.
    bits_pn, max_logit_p (NaN where a logit is not finite), probability_sum_p: see `masks.threshold.Packed`. optional:
    what fills the optional columns an engine was made with, by name, [p, …]: see `stage.FILLERS`. logits_kwh: float32
    [k, w, h] for the rows logits_row_k of this block, those whose maximum is above the threshold, where logits were
    wanted. met: the contests that all its rows are of, or none; their logits stand there. unsound_prompt: the first of
    their prompts whose logits are not finite.

    From a GPU the arrays lie in pinned memory, which is scarce: take what is needed and let the block go.
    """

    grid: tuple[int, int]
    image_index_p: np.ndarray
    query_index_p: np.ndarray
    bits_pn: np.ndarray
    max_logit_p: np.ndarray
    probability_sum_p: np.ndarray
    optional: dict[str, np.ndarray] = field(default_factory=dict)
    logits_row_k: np.ndarray | None = None
    logits_kwh: np.ndarray | None = None
    met: tuple[Met, ...] = ()
    unsound_prompt: int | None = None

    @property
    def nbytes(self) -> int:
        """Of all its arrays."""
        arrays = (*vars(self).values(), *self.optional.values(), *(met.logits_mwh for met in self.met))
        return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))
