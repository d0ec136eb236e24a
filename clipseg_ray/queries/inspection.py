"""A look at queries before a run: what each becomes, who competes with whom, what is cut off, what is asked twice."""

import hashlib
import io
import re
import unicodedata
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from clipseg_ray.addresses import absolute
from clipseg_ray.model.checkpoint import Checkpoint
from clipseg_ray.model.cleaning import cleaned
from clipseg_ray.model.embedding import token_counts
from clipseg_ray.pixels.preprocessing import BILINEAR, Preprocessing
from clipseg_ray.queries.composition import compose_support
from clipseg_ray.queries.expression import Term, ids, text_of
from clipseg_ray.queries.naming import set_name
from clipseg_ray.queries.others import groups_of
from clipseg_ray.queries.prompt_set import embed
from clipseg_ray.queries.query import Query
from clipseg_ray.storage import Store, plain_errors

CLIP_TOKENS = 77
"""Tokens that CLIP's text tower reads, start and end included."""

NEAR = 0.98
"""Cosine of two conditionals from which their queries are called near-duplicates."""

RELEASED = Preprocessing(
    size=352, resample=BILINEAR, rescale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)
"""What the released checkpoints' ``preprocessor_config.json`` asks for, to render pictures without a checkpoint."""

_NEAR_SHOWN = 3
_MEMBERS_SHOWN = 30


@dataclass(frozen=True, kw_only=True)
class Described:
    """What a query becomes.

    prompts: the final wordings; of an expression, a line for each query that it is made of. among: what else decides
    its masks, and whether they are written, a line each. tokens: of each prompt, start and end included; empty without
    a model. pictures: the supports' URLs. duplicates: ids of queries with equal digests. near_duplicates: ids and
    cosines of others whose conditionals are almost parallel; empty without a model.
    """

    query_id: str
    kind: str
    prompts: tuple[str, ...]
    tokens: tuple[int, ...]
    pictures: tuple[str, ...]
    mode: str | None
    alpha: float | None
    threshold: float
    among: tuple[str, ...]
    duplicates: tuple[str, ...]
    near_duplicates: tuple[tuple[str, float], ...]


def count_tokens(queries: Sequence[Query], checkpoint: Checkpoint) -> dict[str, int]:
    """Tokens of every distinct prompt, start and end included, before truncation."""
    prompts = list(dict.fromkeys(prompt for query in queries for prompt in query.prompts))
    return dict(zip(prompts, token_counts(checkpoint, prompts), strict=True))


def warnings(queries: Sequence[Query], token_counts: Mapping[str, int]) -> list[str]:
    """One line for each prompt that CLIP cannot read to its end; `token_counts` by prompt."""
    return [
        f"query {query.query_id!r}: the prompt {_short(prompt)!r} has {token_counts[prompt]} tokens; CLIP reads "
        f"{CLIP_TOKENS}, so it is truncated and its last {token_counts[prompt] - CLIP_TOKENS} are ignored; shorten it"
        for query in queries
        for prompt in query.prompts
        if token_counts[prompt] > CLIP_TOKENS
    ]


def changed(queries: Sequence[Query]) -> Iterator[str]:
    """One line for each text and template that is cleaned on its way into a prompt, whatever its Unicode form."""
    for query in queries:
        for given in dict.fromkeys([*query.texts, *query.templates]):
            if (read := cleaned(given)) != unicodedata.normalize("NFC", given):
                yield f"query {query.query_id!r}: {_short(given)!r} is read as {_short(read)!r}, as CLIP's texts were"


def phrases_cut(cut: Mapping[str, int]) -> str:
    """The same of phrases that came with the images, all in one line."""
    shown = ", ".join(f"{_short(text)!r} ({tokens})" for text, tokens in list(cut.items())[:_NEAR_SHOWN])
    more = ", …" if len(cut) > _NEAR_SHOWN else ""
    said = f"CLIP reads {CLIP_TOKENS} tokens; what follows is ignored in {len(cut)} phrase(s) of more: {shown}{more}"
    return _printable(said)


def describe(
    queries: Sequence[Query],
    token_counts: Mapping[str, int] | None = None,
    conditionals_qc: np.ndarray | None = None,
) -> list[Described]:
    """One entry per query, in order. Without a model's token counts and conditionals their fields stay empty."""
    by_digest: dict[str, list[str]] = defaultdict(list)
    digests = [query.digest() for query in queries]
    for query, digest in zip(queries, digests, strict=True):
        by_digest[digest].append(query.query_id)
    near = _near(queries, conditionals_qc) if conditionals_qc is not None else {}
    by_id = {query.query_id: query for query in queries}
    described = []
    for query, digest in zip(queries, digests, strict=True):
        equal = tuple(other for other in by_digest[digest] if other != query.query_id)
        described.append(
            Described(
                query_id=query.query_id,
                kind=query.kind,
                prompts=query.prompts if query.expression is None else tuple(_operands(query.expression, by_id)),
                tokens=tuple(token_counts[prompt] for prompt in query.prompts) if token_counts else (),
                pictures=tuple(support.url for support in query.supports),
                mode=None if query.mode is None else str(query.mode),
                alpha=query.alpha,
                threshold=query.threshold,
                among=tuple(_among(query)),
                duplicates=equal,
                near_duplicates=tuple(
                    (other, cosine) for other, cosine in near.get(query.query_id, ()) if other not in equal
                ),
            )
        )
    return described


def inspect(
    queries: Sequence[Query], table: str, checkpoint: Checkpoint | None
) -> tuple[list[str], list[list[str]], list[str], str]:
    """What a person reads of `queries`: columns, rows of text, findings (one line each), and a summary line.

    table: where the queries came from; pictures under its folder are named relative to it. With a checkpoint the
    prompts' tokens are counted, and truncated prompts and near-duplicates are among the findings.
    """
    counts = None if checkpoint is None else count_tokens(queries, checkpoint)
    described = describe(queries, counts, None if checkpoint is None else embed(queries, checkpoint))
    folder = absolute(table).rpartition("/")[0] + "/"
    columns = ["query_id", "kind", "prompts", "threshold", *([] if counts is None else ["tokens"])]
    rows = []
    for entry in described:
        cells = [
            entry.query_id,
            entry.kind,
            "\n".join(_becomes(entry, folder)),
            f"{entry.threshold:g}",
            _span(entry.tokens),
        ]
        rows.append([_printable(cell) for cell in cells[: len(columns)]])
    findings = [
        *_groups(queries),
        *changed(queries),
        *(warnings(queries, counts) if counts else ()),
        *_repeats(described),
    ]
    written = [query for query in queries if query.keep]
    kinds = len({query.kind for query in written})
    unwritten = f", {len(rows) - len(written)} more not written" if len(written) < len(rows) else ""
    summary = (
        f"{_plural(len(written), 'query', 'queries')} of {_plural(kinds, 'kind', 'kinds')}{unwritten}; "
        f"prompt set {set_name(queries)}"
    )
    return columns, rows, [_printable(finding) for finding in findings], summary


def render(queries: Sequence[Query], preprocessing: Preprocessing, directory: str) -> list[str]:
    """Write what the model will see of each query's pictures: one PNG per support at `directory` (path or URL).

    Returns the URLs written, ``<query_id>-<n>.png``, in the order of the queries. Characters of an id that a file
    name may not have become ``-``; ids that would then share a file get 8 hex digits of their SHA-256 each.
    """
    store = Store.of(directory)
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    stems = [re.sub(r"[^\w@.+-]+", "-", query.query_id) for query in queries]
    shared = Counter(stem.casefold() for stem in stems)
    written = []
    for query, stem in zip(queries, stems, strict=True):
        if shared[stem.casefold()] > 1:
            stem = f"{stem}-{hashlib.sha256(query.query_id.encode()).hexdigest()[:8]}"
        for number, support in enumerate(query.supports, 1):
            pixels_hwc = compose_support(support, query.mode, preprocessing).transpose(1, 2, 0) * std + mean
            levels_hwc = np.rint(pixels_hwc / preprocessing.rescale).clip(0, 255).astype(np.uint8)
            png = io.BytesIO()
            Image.fromarray(levels_hwc).save(png, "PNG")
            name = f"{stem}-{number}.png"
            with plain_errors(store.url_of(name)):
                store.put(name, png.getvalue())
            written.append(store.url_of(name))
    return written


def _becomes(entry: Described, folder: str) -> list[str]:
    """The prompts and pictures of a query, one line each; in a blend with their shares."""
    lines = list(entry.prompts)
    lines += [f"[{url.removeprefix(folder)}] {entry.mode}" for url in entry.pictures]
    if entry.alpha is not None:
        lines.append(f"blend: {entry.alpha:g} picture, {1 - entry.alpha:g} text")
    return [*lines, *entry.among]


def _operands(term: Term, by_id: Mapping[str, Query]) -> list[str]:
    """The expression, and each query in it with its own wordings or expression, at any depth, once."""
    lines = [text_of(term)]
    waiting, seen = deque(ids(term)), set()
    while waiting:
        name = waiting.popleft()
        if name not in seen:
            seen.add(name)
            query = by_id[name]
            pictures = [f"[{support.url.rpartition('/')[2]}]" for support in query.supports]
            lines.append(f"  {text_of(name)}: {' | '.join(filter(None, [query.words, *pictures]))}")
            waiting += () if query.expression is None else ids(query.expression)
    return lines


def _among(query: Query) -> Iterator[str]:
    if query.suppress:
        yield f"only where above {', '.join(map(text_of, query.suppress))}"
    if query.group is not None:
        weight = "" if query.weight == 1 else f", weight {query.weight:g}"
        yield f"only where the greatest of group {query.group}{weight}"
    if not query.keep:
        yield "not written"


def _groups(queries: Sequence[Query]) -> Iterator[str]:
    """One line a group: its members in the order by which ties are decided."""
    for group, members in groups_of(queries).items():
        shown = [
            f"{member.query_id}{'' if member.weight == 1 else f' (weight {member.weight:g})'}" for member in members
        ]
        more = [f"and {len(shown) - _MEMBERS_SHOWN} more"] if len(shown) > _MEMBERS_SHOWN else []
        yield f"group {group!r}: each pixel goes to one of {', '.join([*shown[:_MEMBERS_SHOWN], *more])}"


def _repeats(described: Sequence[Described]) -> list[str]:
    """Queries asked twice and nearly twice; each group and each pair is named once, by its first query."""
    lines = []
    named: set[str] = set()
    for entry in described:
        if entry.duplicates and entry.query_id not in named:
            others = ", ".join(map(repr, entry.duplicates))
            lines.append(f"query {entry.query_id!r}: gives the same masks as {others}; keep one")
            named.update(entry.duplicates)
    earlier: set[str] = set()
    for entry in described:
        earlier.add(entry.query_id)
        near = sorted((pair for pair in entry.near_duplicates if pair[0] not in earlier), key=lambda pair: -pair[1])
        if near:
            shown = ", ".join(f"{other!r} (cosine {cosine:.4f})" for other, cosine in near[:_NEAR_SHOWN])
            more = f" and {len(near) - _NEAR_SHOWN} more" if len(near) > _NEAR_SHOWN else ""
            lines.append(f"query {entry.query_id!r}: nearly the same as {shown}{more}")
    return lines


def _span(tokens: Sequence[int]) -> str:
    if not tokens:
        return ""
    low, high = min(tokens), max(tokens)
    return str(low) if low == high else f"{low}–{high}"


def _plural(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _printable(text: str) -> str:
    """Control characters as escapes, so that no table can steer a terminal; line ends between prompts stay."""
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def _near(queries: Sequence[Query], conditionals_qc: np.ndarray) -> dict[str, list[tuple[str, float]]]:
    queries = [query for query in queries if query.is_prompt]
    vectors_qc = conditionals_qc / np.linalg.norm(conditionals_qc, axis=1, keepdims=True)
    near: dict[str, list[tuple[str, float]]] = {}
    for index, query in enumerate(queries):
        cosines = vectors_qc @ vectors_qc[index]
        cosines[index] = -1
        near[query.query_id] = [
            (queries[other].query_id, float(cosines[other])) for other in np.flatnonzero(cosines >= NEAR).tolist()
        ]
    return near


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"
