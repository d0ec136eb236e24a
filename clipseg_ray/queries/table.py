"""From a table to queries: read, select, check everything, fetch pictures, give names.

for query in load_queries("builtin:affordances", "kind = 'affordance'", threshold=0.5):
    print(query.query_id, query.prompts)
"""

import re
from collections import defaultdict
from collections.abc import Sequence

from clipseg_ray.boundary import is_local
from clipseg_ray.errors import UserError
from clipseg_ray.http_client import hosts_of
from clipseg_ray.queries.naming import PHRASE
from clipseg_ray.queries.query import Query, definition_digest
from clipseg_ray.queries.selection import select
from clipseg_ray.queries.supports import Support, make_support
from clipseg_ray.queries.table_checks import Draft, Fault, check_row, column_faults
from clipseg_ray.queries.table_file import TableRows, read_rows
from clipseg_ray.storage import explain, get_many, protocol_of

__all__ = ["Query", "from_texts", "load_queries"]


def load_queries(table: str, where: str | None, threshold: float) -> list[Query]:
    """The queries of a table, in its order.

    table: URL or path of a CSV, Parquet, YAML or JSONL file, or ``builtin:<name>``; pictures and masks in it are
    given relative to the table's folder, or as full URLs. where: SQL condition over its columns. threshold: for
    queries without their own, in (0, 1). All rows are checked, pictures only of the selected ones.
    Raises UserError that lists every fault with its row number.
    """
    return _resolve(read_rows(table), where, threshold)


def from_texts(texts: Sequence[str], threshold: float) -> list[Query]:
    """One plain query per text, in order. Raises UserError as `load_queries` does."""
    rows = tuple({"text": text} for text in texts)
    return _resolve(TableRows("queries", "", ("text",), rows), None, threshold)


def _resolve(rows: TableRows, where: str | None, threshold: float) -> list[Query]:
    faults = column_faults(rows)
    drafts: list[Draft] = []
    for number, values in enumerate(rows.rows, 1):
        draft, found = check_row(number, values, threshold)
        drafts.append(draft)
        faults += found
    try:
        selected = select(rows, where)
    except UserError as error:
        if not faults:
            raise
        selected = []
        faults.append(Fault(0, "", str(error)))
    chosen = [drafts[index] for index in selected]
    supports = _supports(chosen, rows.folder, faults)
    broken = {fault.row for fault in faults}
    named = [draft for draft in chosen if draft.row not in broken or (draft.query_id and not draft.sweep)]
    numbered = [(draft.row, query) for draft in named for query in _queries(draft, supports[draft.row])]
    faults += _duplicates(numbered)
    if faults:
        faults.sort(key=lambda fault: fault.row)
        plural = "fault" if len(faults) == 1 else "faults"
        listed = "\n".join(f"  {fault}" for fault in faults)
        raise UserError(
            f"{rows.source}: {len(faults)} {plural} (rows are counted from 1, without the header):\n{listed}"
        )
    if not numbered:
        raise UserError(
            f"queries.where: {where}: holds for none of the {len(rows.rows)} rows of {rows.source}; loosen it"
            if where
            else f"{rows.source}: no queries; give at least one"
        )
    return [query for _, query in numbered]


def _supports(drafts: Sequence[Draft], folder: str, faults: list[Fault]) -> dict[int, tuple[Support, ...]]:
    """The supports of each row; rows with a fault in one get none."""
    wanted = [
        (draft.row, _url(folder, image), draft.masks[index] if index < len(draft.masks) else None)
        for draft in drafts
        for index, image in enumerate(draft.images)
    ]
    masks = {mask: _url(folder, mask) for _, _, mask in wanted if isinstance(mask, str)}
    urls = list(dict.fromkeys([*(image for _, image, _ in wanted), *masks.values()]))
    files = _fetched(folder, urls)
    supports: dict[int, list[Support]] = defaultdict(list)
    for row, image, mask in wanted:
        picture = _content(files, row, "image", image, faults)
        mask_file = _content(files, row, "mask", masks[mask], faults) if isinstance(mask, str) else None
        if picture is None or (isinstance(mask, str) and mask_file is None):
            continue
        try:
            supports[row].append(make_support(image, picture, mask, mask_file))
        except ValueError as error:
            column = "mask" if str(error).startswith("mask") else "image"
            faults.append(Fault(row, column, str(error)))
    return {draft.row: tuple(supports[draft.row]) for draft in drafts}


def _fetched(folder: str, urls: Sequence[str]) -> dict[str, bytes | Exception]:
    """What lies at each URL, or the fault of every row that names it. A table on this machine is the user's own; one
    from elsewhere names no file of this machine, and of private addresses those of its own host."""
    elsewhere = bool(folder) and not is_local(folder)
    local = [url for url in urls if elsewhere and is_local(url)]
    why = f"a table at {folder} names no file of this machine; use a copy of the table here, or give a full URL"
    rest = [url for url in urls if url not in local]
    found = dict(zip(rest, get_many(rest, hosts=hosts_of([folder]) if elsewhere else None), strict=True))
    return {**found, **{url: UserError(f"{url}: {why}") for url in local}}


def _content(files: dict[str, bytes | Exception], row: int, column: str, url: str, faults: list[Fault]) -> bytes | None:
    """What was fetched from `url`; None, and a fault, when nothing was."""
    found = files[url]
    if isinstance(found, bytes):
        return found
    if isinstance(found, FileNotFoundError | IsADirectoryError):
        faults.append(Fault(row, column, f"{url}: no such file"))
    else:
        reason = found if isinstance(found, UserError) else explain(found, url)
        faults.append(Fault(row, column, str(reason or f"{url}: cannot be read ({found})")))
    return None


def _url(folder: str, path: str) -> str:
    if protocol_of(path) != "file" or path.startswith(("/", "~", "file://")) or not folder:
        return path
    return f"{folder}/{path}"


def _queries(draft: Draft, supports: tuple[Support, ...]) -> list[Query]:
    """One query, or one per alpha of a sweep, named ``<id>@<alpha>``."""
    queries = []
    for alpha in draft.alphas:
        query = Query(
            query_id="",
            kind=draft.kind,
            texts=draft.texts,
            templates=draft.templates,
            threshold=draft.threshold,
            supports=supports,
            mode=draft.mode,
            alpha=alpha,
            concept=draft.concept,
            columns=draft.columns,
        )
        name = draft.query_id or _name(query, with_alpha=not draft.sweep)
        suffix = f"@{alpha:g}" if draft.sweep and alpha is not None else ""
        queries.append(Query(**{**query.__dict__, "query_id": name + suffix}))
    return queries


def _name(query: Query, with_alpha: bool) -> str:
    """A name made from what is asked: a readable slug and 8 hex digits.

    The threshold does not enter: the same question at another threshold is a changed query, not a new one.
    """
    left_out = {"threshold"} if with_alpha else {"threshold", "alpha"}
    asked = {key: value for key, value in query.definition().items() if key not in left_out}
    slug = re.sub(r"[\W_]+", "-", (query.texts or ("picture",))[0].casefold()).strip("-")[:40].rstrip("-")
    name = f"{slug or 'query'}-{definition_digest(asked)[:8]}"
    return f"query-{name}" if name.startswith(PHRASE) else name


def _duplicates(numbered: Sequence[tuple[int, Query]]) -> list[Fault]:
    first: dict[str, int] = {}
    faults = []
    for row, query in numbered:
        if query.query_id not in first:
            first[query.query_id] = row
            continue
        before = first[query.query_id]
        if before == row:
            faults.append(Fault(row, "alpha", f"makes the query {query.query_id!r} twice; name each share once"))
        else:
            message = f"{query.query_id!r} is also that of row {before}; give each query its own"
            faults.append(Fault(row, "query_id", message))
    return faults
