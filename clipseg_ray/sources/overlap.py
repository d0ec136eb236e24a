"""Input and output that lie in one another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from clipseg_ray.addresses import absolute, protocol_of
from clipseg_ray.errors import UserError
from clipseg_ray.outside_text import native
from clipseg_ray.sources.base import Source
from clipseg_ray.sources.listing import Listing
from clipseg_ray.sources.matching import folder_of


def refuse(urls: Sequence[str], output: str) -> None:
    """Raise UserError where an input URL is the output or lies in it: what is there is the run's own, and no input.

    An output inside the input is left out of it, and fine.
    """
    place = _place(output)
    for url in urls:
        named = _place(folder_of(url))
        if named == place:
            raise UserError(
                f"output.url: {output} is where the input lies (input.url: {url}); give the masks a folder of their "
                f"own, such as {output.rstrip('/')}-masks"
            )
        if f"{named}/".startswith(f"{place.rstrip('/')}/"):
            raise UserError(
                f"output.url: the input {url} lies inside {output}; give the masks a folder of their own, beside the "
                "input or in it"
            )


def without(listing: Listing, source: Source, places: Sequence[str]) -> Listing:
    """The listing without the objects whose URLs begin with one of ``places``."""
    starts = tuple(places)
    kept = tuple(member for member in listing.objects if not source.url_of(member.path).startswith(starts))
    return replace(listing, objects=kept)


def _place(url: str) -> str:
    """A place by its one name: without links, where it is on this machine."""
    full = absolute(url)
    return os.path.realpath(native(full)) if protocol_of(full) == "file" else full.rstrip("/")
