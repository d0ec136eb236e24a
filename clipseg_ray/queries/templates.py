"""Text templates: the sentences a query's text is put into before CLIP reads it (CLIPSeg, supplement)."""

from clipseg_ray.errors import meant

_FIXED = ("a photo of a {}.",)
_SHUFFLE = (*_FIXED, "a photograph of a {}.", "an image of a {}.", "{}.")

TEMPLATE_SETS: dict[str, tuple[str, ...]] = {
    "plain": ("{}",),
    "fixed": _FIXED,
    "shuffle": _SHUFFLE,
    "shuffle+": (
        *_SHUFFLE,
        "a cropped photo of a {}.",
        "a good photo of a {}.",
        "a photo of one {}.",
        "a bad photo of a {}.",
        "a photo of the {}.",
    ),
}
"""Named sets. In training one of a set is drawn per item; here a query is the mean over all of them."""


def resolve_templates(names: list[str]) -> tuple[str, ...]:
    """The templates behind `names`: each a named set, or a template of one's own that contains ``{}``.

    Raises ValueError, worded for a person, for anything else.
    """
    templates: list[str] = []
    for name in names:
        if name in TEMPLATE_SETS:
            templates += TEMPLATE_SETS[name]
        elif "{}" in name:
            templates.append(name)
        else:
            hint = meant(name, TEMPLATE_SETS, "{!r}")
            raise ValueError(f"{name!r} is no template set, and has no {{}} for the text; {hint}")
    return tuple(templates)
