"""Verbs that segment: demo, init, run, submit, plan."""

from __future__ import annotations

import json
import sys
from typing import Annotated
from urllib.parse import urlsplit

import typer

from clipseg_ray import command_line
from clipseg_ray import config as configuration
from clipseg_ray.cli.app import ConfigPath, Overrides, app, repeated, say


@app.command(epilog="Example: clipseg-ray demo -s model.checkpoint=CIDAS/clipseg-rd64-refined")
def demo(set_: Overrides = None) -> None:
    """Try everything: draw scenes, segment them on local Ray, score the masks, ask them a question.

    It draws into demo-output/, and writes the configuration it runs there: demo-output/demo.yaml.
    """
    from clipseg_ray.cluster import connection
    from clipseg_ray.demo import tour

    again = repeated("run", str(tour.CONFIG), set_)
    connection.leave(tour.run(set_ or (), program=command_line.as_started(), invocation=again))


@app.command(epilog="Example: clipseg-ray init photos -o photos.yaml")
def init(
    url: Annotated[str, typer.Argument(metavar="INPUT", help="Images: a folder, glob or file, local or at any URL.")],
    file: Annotated[str | None, typer.Option("-o", metavar="FILE", help="Where to, not <name of INPUT>.yaml.")] = None,
) -> None:
    """Look at some images and write a configuration for them, with comments; never over a file that is there."""
    from clipseg_ray.drafting import draft

    written, seen = draft.write(url, file)
    say(f"wrote {written}: {seen}\nNext: {repeated('plan', written, None)}")


@app.command(epilog="Example: clipseg-ray run demo-output/demo.yaml -s masks.threshold=0.4")
def run(
    config: ConfigPath,
    set_: Overrides = None,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Also compute again chunks with images that were not found or reached."),
    ] = False,
    give_up: Annotated[
        bool,
        typer.Option("--give-up", help="Go on without images that cannot be reached: they get status unreachable."),
    ] = False,
) -> None:
    """Segment every image that has no masks yet."""
    from clipseg_ray.cluster import connection
    from clipseg_ray.pipeline import driver

    loaded = configuration.load(config, set_ or ())
    outcome = driver.run(loaded, retry_failed=retry_failed, give_up=give_up, invocation=repeated("run", config, set_))
    say(outcome.message, error=outcome.code != 0)
    if outcome.code == 0:
        show, gallery = (repeated(verb, loaded.output.url, None) for verb in ("show", "gallery"))
        say(f"Look at it: {show}, or as a page: {gallery} -o gallery.html")
    connection.leave(outcome.code)


@app.command(epilog="Example: clipseg-ray submit configs/s3.yaml --address http://head:8265 --follow")
def submit(
    config: ConfigPath,
    address: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar="RAY_API_SERVER_ADDRESS",
            help="The dashboard of a running Ray cluster, e.g. http://head:8265.",
        ),
    ],
    set_: Overrides = None,
    follow: Annotated[bool, typer.Option("--follow", help="Show its log; end as it ends, with its exit code.")] = False,
) -> None:
    """Hand a run to a Ray cluster, unless it is running there or done; it goes on when this machine is switched off."""
    from clipseg_ray.submit import submission as submit

    loaded = configuration.load(config, set_ or ())
    command = f"{repeated('submit', config, set_)} --address {address}"
    name = urlsplit(config).path.rpartition("/")[2]
    raise typer.Exit(submit.submit(submit.Request(loaded, name=name, address=address, command=command), follow=follow))


@app.command(epilog="Example: clipseg-ray plan demo-output/demo.yaml --measure")
def plan(
    config: ConfigPath,
    set_: Overrides = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Also run samples of it for some minutes, where the run would be.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Say what a run would do; reads listings (for input.limit and input.sample also some shards), writes nothing.

    With --measure also how long it takes, what it writes and what it costs at the prices of the configuration: samples
    of it are run on the cluster at RAY_ADDRESS, or here. What they write is removed.
    """
    from clipseg_ray.forecast import preflight
    from clipseg_ray.pipeline import describe

    plan, measured = preflight.plan_of(
        configuration.load(config, set_ or ()), measure, lambda line: print(line, file=sys.stderr, flush=True)
    )
    if json_:
        print(json.dumps({"plan": describe.plan_json(plan), **({} if measured is None else measured.to_json())}))
        return
    say(describe.plan_text(plan))
    if measured is not None:
        print(measured.text())
