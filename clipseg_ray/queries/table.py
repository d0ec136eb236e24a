"""From a table to queries: read, select, check everything, fetch pictures, give names.

for query in load_queries("builtin:affordances", "kind = 'affordance'", threshold=0.5):
    print(query.query_id, query.prompts)
"""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from clipseg_ray.addresses import protocol_of
from clipseg_ray.boundary import is_local
from clipseg_ray.errors import UserError
from clipseg_ray.http_client import hosts_of
from clipseg_ray.queries.made_ids import MadeIds
from clipseg_ray.queries.others import resolved
from clipseg_ray.queries.query import Query
from clipseg_ray.queries.selection import select
from clipseg_ray.queries.supports import Support, make_support
from clipseg_ray.queries.table_checks import Draft, Fault, check_row, column_faults
from clipseg_ray.queries.table_file import TableRows, mappings, read_rows
from clipseg_ray.queries.table_relations import Chosen, Relations
from clipseg_ray.storage import explain, get_many

__all__ = ["Query", "from_rows", "from_texts", "load_queries"]


def load_queries(table: str, where: str | None, threshold: float) -> list[Query]:
    """The queries of a table, in its order.

    table: URL or path of a CSV, TSV, Parquet, YAML or JSONL file or of a list of prompts (.txt), or ``builtin:<name>``;
    pictures and masks in it are given relative to the table's folder, or as full URLs. where: SQL condition over its
    columns. threshold: for queries without their own, in (0, 1). All rows are checked, pictures only of the selected
    ones.
    Raises UserError that lists every fault with its row number.
    """
    return [query for _, query in numbered_queries(read_rows(table), where, threshold)]


def from_texts(texts: Sequence[str], threshold: float) -> list[Query]:
    """One plain query per text, in order. Raises UserError as `load_queries` does."""
    return from_rows([{"text": text} for text in texts], threshold)


def from_rows(
    rows: Sequence[Mapping[str, Any]], threshold: float, held: Mapping[str, bytes] | None = None
) -> list[Query]:
    """The queries of a table's rows that a program has, in order. Raises UserError as `load_queries` does.

    rows: values by column, as YAML has them. held: pictures and masks that are at hand, by the names that rows give
    them; others are fetched, paths relative to the working directory.
    """
    try:
        values = mappings([dict(row) for row in rows])
    except ValueError as error:
        raise UserError(f"queries: {error}") from error
    columns = tuple(dict.fromkeys(column for row in values for column in row))
    table = TableRows("queries", "", columns, tuple(values))
    return [query for _, query in numbered_queries(table, None, threshold, held)]


def chosen_rows(rows: TableRows, where: str | None, threshold: float, faults: list[Fault]) -> list[Chosen]:
    """The rows for which `where` holds and those that they need, in order; what is wrong is added to `faults`."""
    drafts = _drafts(rows, threshold, faults)
    return _chosen(rows, where, drafts, MadeIds(drafts), faults)


def numbered_queries(
    rows: TableRows, where: str | None, threshold: float, held: Mapping[str, bytes] | None = None
) -> list[tuple[int, Query]]:
    """The queries of a table that was read, in its order, each with its row's number; see ``load_queries``.

    held: pictures and masks that are at hand, by the names that rows give them.
    """
    faults: list[Fault] = []
    drafts = _drafts(rows, threshold, faults)
    made = MadeIds(drafts)
    chosen = _chosen(rows, where, drafts, made, faults)
    supports = _supports([each.draft for each in chosen], rows.folder, held or {}, faults)
    broken = {fault.row for fault in faults}
    numbered = [
        (each.draft.row, query)
        for each in chosen
        if _has_names(each.draft, broken)
        for query in _queries(each.draft, supports[each.draft.row], made)
        if each.only is None or query.query_id in each.only
    ]
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
    queries = resolved(_placed(query for _, query in numbered))
    return [(row, query) for (row, _), query in zip(numbered, queries, strict=True)]


def _drafts(rows: TableRows, threshold: float, faults: list[Fault]) -> list[Draft]:
    faults += column_faults(rows)
    drafts: list[Draft] = []
    for number, values in enumerate(rows.rows, 1):
        draft, found = check_row(number, values, threshold, rows.spelt)
        drafts.append(draft)
        faults += found
    return drafts


def _chosen(
    rows: TableRows, where: str | None, drafts: Sequence[Draft], made: MadeIds, faults: list[Fault]
) -> list[Chosen]:
    broken = {fault.row for fault in faults}
    relations = Relations(drafts, {draft.row: _ids(draft, broken, made) for draft in drafts})
    faults += relations.faults()
    try:
        chosen, cut = relations.chosen(select(rows, where))
    except UserError as error:
        if not faults:
            raise
        chosen, cut = [], [Fault(0, "", str(error))]
    faults += cut
    return chosen


def _has_names(draft: Draft, broken: Container[int]) -> bool:
    """Whether the ids of a row's queries are known, although something is wrong with it."""
    return draft.row not in broken or bool(draft.query_id and not draft.sweep)


def _ids(draft: Draft, broken: Container[int], made: MadeIds) -> tuple[str, ...]:
    """The ids of a row's queries, as far as they are known before its pictures are fetched."""
    if not _has_names(draft, broken) or (draft.images and not draft.query_id):
        return ()
    return tuple(query.query_id for query in _queries(draft, (), made))


def _placed(queries: Iterable[Query]) -> list[Query]:
    """The queries with their places in their groups, which is the order in which they come."""
    counts: Counter[str] = Counter()
    placed = []
    for query in queries:
        if query.group is not None:
            counts[query.group] += 1
            query = replace(query, place=counts[query.group] - 1)
        placed.append(query)
    return placed


def _supports(
    drafts: Sequence[Draft], folder: str, held: Mapping[str, bytes], faults: list[Fault]
) -> dict[int, tuple[Support, ...]]:
    """The supports of each row; rows with a fault in one get none."""
    wanted = [
        (draft.row, _url(folder, image), draft.masks[index] if index < len(draft.masks) else None)
        for draft in drafts
        for index, image in enumerate(draft.images)
    ]
    masks = {mask: _url(folder, mask) for _, _, mask in wanted if isinstance(mask, str)}
    urls = list(dict.fromkeys([*(image for _, image, _ in wanted), *masks.values()]))
    files = {**_fetched(folder, [url for url in urls if url not in held]), **held}
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


def _queries(draft: Draft, supports: tuple[Support, ...], made: MadeIds) -> list[Query]:
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
            suppress=draft.suppress,
            group=draft.group,
            weight=draft.weight,
            expression=draft.expression,
            keep=draft.keep,
        )
        suffix = f"@{alpha:g}" if draft.sweep and alpha is not None else ""
        queries.append(replace(query, query_id=made.of(draft, query) + suffix))
    return queries


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
