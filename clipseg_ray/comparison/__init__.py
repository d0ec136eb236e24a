"""Two sets of masks of the same images held against each other: how much they agree, and where they differ most.

``clipseg-ray compare A B``: `side` is what A and B are, `pairing` which query of one is which of the other, `joining`
the rows side by side, `numbers` and `lacking` what follows from them, `page` the images that differ most.
"""
