"""What a reader must know before trusting the masks, and under which licences they are."""

from __future__ import annotations

from clipseg_ray.report.facts import Facts

WITHOUT_IMAGES = "The images, which are not in this dataset but for the small ones on a contact sheet, keep "
WEIGHTS = (
    "Masks come from the weights named above, whose licence is theirs. Of the released CLIPSeg weights "
    "(`CIDAS/clipseg-*`) the authors say that the MIT licence of their code does not cover them (research use); the "
    f"hub page says Apache-2.0. {WITHOUT_IMAGES}their own licence."
)


def known(found: Facts) -> str:
    """What limits the masks of a dataset, as a list in Markdown."""
    masks, precision = found.record.masks, found.record.compute["precision"]
    lines = (
        (
            True,
            "CLIPSeg sees every image squashed to a square in patches of 16 pixels; thin and small things are lost, "
            "outlines are soft.",
        ),
        (
            True,
            "`score` is the greatest probability on the model's grid: how sure the model is of its best pixel, not how "
            "good the mask is. It is not calibrated; compare within a query, not across queries.",
        ),
        (
            True,
            "A mask says where the model's probability is above the query's threshold, also where nothing that was "
            "asked for is in the image.",
        ),
        (
            masks["size"] == "model",
            "Areas and boxes are in pixels of the grid, not of the image: scale them by image_width / width.",
        ),
        (
            not masks["keep_empty"],
            "Empty masks were not kept: a missing row may mean 'asked and absent' or 'not asked'.",
        ),
        (
            "rethresholded" in masks,
            "Thresholds were moved after the run, over small probability maps: masks are near those of a run at the "
            "thresholds above, not the same.",
        ),
        (
            "pairs" in masks,
            "Only some (image, query) pairs of another dataset were asked (`_dataset.json`, `masks.pairs`): a missing "
            "row says nothing.",
        ),
        (precision != "fp32", f"Computed in {precision}: pixels near the threshold may differ from fp32."),
    )
    return "\n".join(f"* {line}" for holds, line in lines if holds)
