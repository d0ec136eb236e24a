"""The dataset card: ``README.md`` in the output, for people, and its head for the Hugging Face hub.

Written at the end of a run, from the dataset alone; ``clipseg-ray card OUTPUT`` writes it again.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from clipseg_ray import yaml_text
from clipseg_ray.pixels.views import Views
from clipseg_ray.printable import printable
from clipseg_ray.redaction import redacted
from clipseg_ray.report import contact_sheet, facts, limits
from clipseg_ray.report.asked import DescribedQuery
from clipseg_ray.report.facts import Facts
from clipseg_ray.results import layout
from clipseg_ray.results.optional_columns import masks_schema, settings_of
from clipseg_ray.results.source_images import SourceImages
from clipseg_ray.sources import passed_over
from clipseg_ray.storage import Store, plain_errors

OURS = "<!-- clipseg-ray rewrites this file at the end of each run. Delete this line to keep it as it is. -->"

_LOADING = """\
Paths are relative to this folder.

```sql
-- DuckDB: where each query was found, without reading a mask
SELECT query_id, count(*) FILTER (area > 0) AS found_in, avg(coverage) FILTER (area > 0) AS coverage
FROM 'masks/*/*.parquet' GROUP BY query_id ORDER BY found_in DESC;
```
```python
pl.scan_parquet("masks/**/*.parquet")           # Polars
pd.read_parquet("masks")                        # pandas
spark.read.parquet("masks")                     # Spark
load_dataset("parquet", data_files="masks/*/*.parquet")   # Hugging Face datasets
pycocotools.mask.decode({"size": [row["height"], row["width"]], "counts": row["counts"]})   # uint8 [height, width]
```"""


_CONFIGS = (
    {"config_name": "masks", "data_files": "masks/*/*.parquet", "default": True},
    {"config_name": "images", "data_files": "images/*.parquet"},
)


SHEET_QUERIES, SHEET_IMAGES = 6, 4


def write(store: Store, allow_source: Sequence[str] = ()) -> bool:
    """Put the card of the dataset at ``store``; False, and nothing is written, where somebody made it their own.

    With it goes a contact sheet, where images are at hand: those in the dataset's own bucket or parent folder, and
    below the prefixes ``allow_source``.
    Raises UserError where no dataset is, or one without images.
    """
    with plain_errors(store.url):
        if store.exists(layout.CARD) and OURS not in store.get(layout.CARD).decode(errors="replace"):
            return False
        with facts.gather(store) as (found, connection):
            shown = contact_sheet.some(found, SHEET_QUERIES)
            images = SourceImages(store, allow_source)
            sheet = contact_sheet.drawn(connection, shown, images.fetch, images=SHEET_IMAGES)
            if sheet is not None:
                store.put(layout.SHEET, contact_sheet.webp(sheet))
            store.put(layout.CARD, text(found, shown if sheet else ()).encode())
        if found.missing and not facts.missing(store):
            # Another driver finished meanwhile, and this card may have come after its own: it says what is no more.
            return write(store, allow_source)
    return True


def write_or_warn(store: Store, allow_source: Sequence[str] = ()) -> None:
    """Write the card; a warning on standard output where that fails."""
    try:
        write(store, allow_source)
    except Exception as error:  # the masks are what was asked for, and they are there
        print(
            f"warning: the dataset card was not written ({error}); clipseg-ray card {store.url} tries again", flush=True
        )


def text(found: Facts, shown: Sequence[DescribedQuery] = ()) -> str:
    """The card in Markdown; ``shown``: the queries on the contact sheet beside it, if there is one."""
    sections = [
        front_matter(found.name, found.masks, [*_CONFIGS, _queries_config(found)]),
        OURS,
        f"# {plain(found.name)}",
        _opening(found),
        *([_sheet(found, shown)] if shown else []),
        "## Made from",
        origin(found),
        "## Tables",
        _tables(found),
        "## Queries",
        queries(found, found.queries),
        "## Images without masks",
        _failures(found),
        "## Loading",
        _LOADING,
        "## Known limits",
        limits.known(found),
        "## Licences",
        limits.WEIGHTS,
    ]
    return "\n\n".join(sections) + "\n"


def plain(value: str) -> str:
    """Any text as it reads, on one line: nothing in it is Markdown or HTML."""
    escaped = html.escape(printable(redacted(" ".join(value.split()))), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#+!|~$])", r"\\\1", escaped)


def percent(share: float) -> str:
    """A share of 1 as per cent, in two figures: ``0.012 %``, ``4.5 %``, ``87 %``."""
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.2g} %"


def front_matter(name: str, rows: int, configs: Sequence[Mapping[str, Any]]) -> str:
    """The card's head for the hub: YAML between dashes."""
    head: dict[str, Any] = {
        "pretty_name": name,
        "task_categories": ["image-segmentation"],
        "tags": ["clipseg", "coco-rle", "clipseg-ray"],
        "size_categories": [_size_category(rows)],
        "configs": [dict(config) for config in configs],
    }
    return f"---\n{yaml_text.dump(head)}---"


def _size_category(rows: int) -> str:
    """The hub's name for a number of rows."""
    names = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B")
    return next((name for power, name in enumerate(names, 3) if rows < 10**power), "n>1B")


def _opening(found: Facts) -> str:
    grid = "each image's own size" if found.record.masks["size"] == "image" else _grid(found)
    text = (
        f"CLIPSeg masks of {found.images:,} images for {len(found.queries)} queries: {found.masks:,} rows, "
        f"{found.found:,} of them with a mask that is not empty, on {grid}. A row is one (image, query): score, area, "
        "coverage, box, and the mask as COCO run lengths."
    )
    if found.caution:
        text += f"\n\n**{found.caution}**"
    if found.note:
        text += f"\n\n**{found.note}**"
    if found.missing:
        text += f"\n\n**Incomplete:** {'; '.join(found.missing)}. Running the job again goes on where it stopped."
    return text


def _sheet(found: Facts, shown: Sequence[DescribedQuery]) -> str:
    words = f"A few images, and over them what {len(shown)} of {len(found.queries)} queries found, with scores"
    return f"![{words}]({layout.SHEET})"


def _grid(found: Facts) -> str:
    if (views := Views.from_record(found.record.masks.get("views"))) is None:
        return f"a grid of {_side(found)} pixels"
    return f"grids of {_side(found)} to {_side(found, views.most)} pixels, by the image's size"


def _side(found: Facts, tiles: int = 1) -> str:
    size = found.record.model["preprocessing"]["size"] * tiles
    return f"{size}×{size}"


def origin(found: Facts) -> str:
    """Model, input and how it was computed, as a table."""
    model, compute, source = found.record.model, found.record.compute, found.record.input
    revision = f", revision `{model['revision']}`" if model["revision"] else ""
    rows = [
        ("model", f"{plain(found.model)}{revision}"),
        ("weights (SHA-256)", f"`{model['weights_sha256']}`"),
        ("input", f"{plain(found.input)} ({source['format']}, {found.shards:,} shards)"),
        ("images", f"squashed to {_side(found)} pixels, decoded {source['decode']}"),
        ("computed", f"{compute['precision']} on {compute['device']}{', compiled' if compute['compile'] else ''}"),
        ("fingerprint", f"`{found.record.fingerprint}`: of everything that changes a mask"),
    ]
    if views := Views.from_record(found.record.masks.get("views")):
        rows.insert(4, ("views", views.words()))
    if refine := found.record.masks.get("refine"):
        filtered = (
            f"{refine['filter']} filter, radius {refine['radius']} pixels of the grid, epsilon {refine['epsilon']:g}"
        )
        rows.insert(4, ("borders", f"refined by the picture: {filtered}"))
    if found.last_run:
        versions = found.last_run["versions"]
        named = ", ".join(f"{name} {versions[name]}" for name in ("clipseg-ray", "torch"))
        rows.append(("last run", f"{found.last_run['run_id']} ({found.last_run['state']}), {named}"))
    for line in passed_over.lines(found.last_run.get("passed_over", {}), found.further):
        rows.append(("passed over", plain(line.partition(": ")[2])))
    for key in ("limit", "sample"):
        if source[key] is not None:
            rows.append((f"input.{key}", f"{source[key]:,} images" + (f", seed {source['seed']}" * (key == "sample"))))
    return table(("what", "which"), rows)


def _tables(found: Facts) -> str:
    empty = "" if found.record.masks["keep_empty"] else " that has a mask (empty ones were not kept)"
    rows = [
        ("`masks/set=*/*.parquet`", f"one row per (image, query){empty}", f"{found.masks:,}"),
        ("`images/*.parquet`", "one row per input image; `status` says why one has no masks", f"{found.images:,}"),
        ("`queries/*.parquet`", "the queries with their thresholds and conditionals", f"{len(found.queries):,}"),
    ]
    columns = [
        (f"`{column.name}`", plain(str(column.type)), plain(column.metadata[b"description"].decode()))
        for column in masks_schema(settings_of(found.record.masks))
    ]
    described = table(("column", "type", "what it is"), columns)
    return (
        f"{table(('files', 'one row', 'rows'), rows)}\n\n`masks`:\n\n{described}\n\n"
        "The columns of all tables are described in the Parquet schemas themselves."
    )


def queries(found: Facts, shown: Sequence[DescribedQuery]) -> str:
    """These queries and what they found, as a table."""
    header = ("query", "kind", "asked", "threshold", "images", "found in", "coverage", "score")
    intro = (
        "Coverage of the masks that are not empty and greatest probability (score) over all images: "
        "5 %, **50 %** and 95 % quantiles."
    )
    return f"{intro}\n\n{table(header, [_query_row(found, query) for query in shown])}"


def _queries_config(found: Facts) -> dict[str, Any]:
    """Where the Hub's loader finds the queries. It takes the columns from the first file, and files of sets whose
    queries compete have more than others: those come first."""
    competing = {layout.queries_file(query.prompt_set) for query in found.queries if query.among}
    others = {layout.queries_file(query.prompt_set) for query in found.queries} - competing
    both = [*sorted(competing), *sorted(others)]
    return {"config_name": "queries", "data_files": both if competing and others else "queries/*.parquet"}


def _query_row(found: Facts, query: DescribedQuery) -> tuple[str, ...]:
    numbers = found.of(query)
    share = f" ({numbers.found / numbers.images:.0%})" if numbers.images else ""
    return (
        plain(query.query_id),
        plain(query.kind),
        plain(query.words),
        f"{query.threshold:g}",
        f"{numbers.images:,}",
        f"{numbers.found:,}{share}",
        _quantiles([percent(value) for value in numbers.coverage_quantiles.values()] if numbers.found else []),
        _quantiles([f"{value:.2f}" for value in numbers.score_quantiles.values()]),
    )


def _quantiles(values: list[str]) -> str:
    return f"{values[0]} · **{values[1]}** · {values[2]}" if values else "–"


def _failures(found: Facts) -> str:
    bad = {status: count for status, count in found.statuses.items() if status != "ok"}
    if not bad:
        return "None: every image could be read."
    counts = ", ".join(f"{count:,} {plain(status)}" for status, count in bad.items())
    rows = [(plain(image_id), plain(status), plain(found.said(error))) for image_id, status, error in found.failures]
    more = sum(bad.values()) - len(rows)
    rest = f"\n\n… and {more:,} more: `SELECT * FROM 'images/*.parquet' WHERE status <> 'ok'`." if more > 0 else ""
    return f"{sum(bad.values()):,} of {found.images:,}: {counts}.\n\n{table(('image', 'status', 'error'), rows)}{rest}"


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table; cells are Markdown."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
