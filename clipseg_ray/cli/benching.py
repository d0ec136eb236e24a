"""The verb that opens the workbench."""

from __future__ import annotations

from typing import Annotated

import typer

from clipseg_ray.cli.app import Overrides, app, say


@app.command(epilog="Example: clipseg-ray workbench photos/ --images 64")
def workbench(
    place: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG|INPUT", help="A .yaml run configuration, or images: a folder, glob or file, at any URL."
        ),
    ],
    images: Annotated[int, typer.Option(metavar="N", help="How many images are drawn from the input.")] = 64,
    port: Annotated[int | None, typer.Option(help="Where on this machine; a free port unless given.")] = None,
    set_: Overrides = None,
) -> None:
    """Try words and pictures on a few images, in the browser of this machine, and save them as a query table."""
    from clipseg_ray.workbench import serving

    serving.serve(place, set_ or (), images=images, port=port, say=say)
