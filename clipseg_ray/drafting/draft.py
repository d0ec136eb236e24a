"""The drafted configuration: its text, and the file it is put into."""

from __future__ import annotations

import re
import shlex
from itertools import chain, count

import yaml

from clipseg_ray import yaml_text
from clipseg_ray.addresses import absolute, protocol_of
from clipseg_ray.config import DEFAULT_TABLE, RunConfig
from clipseg_ray.drafting.first_look import FirstLook, look
from clipseg_ray.errors import UserError
from clipseg_ray.model import drawn_scenes, hub
from clipseg_ray.printable import printable
from clipseg_ray.storage import Store, plain_errors

_SHOWN = 60
"""Characters of an example."""


def write(url: str, file: str | None) -> tuple[str, str]:
    """Draft a configuration for an input and put it into ``file``; the file's URL, and the input in a line.

    ``file``: default ``<name of the input>.yaml`` in the working directory. Raises UserError where the input cannot be
    read, and where there is a file already.
    """
    _checked({"input": {"url": url}, "output": {"url": "masks"}}, "")
    seen = look(url)
    file = file or f"{_name(seen)}.yaml"
    folder, _, name = absolute(file).rpartition("/")
    store = Store.of(folder or "/")
    text = _text(seen, file, store)
    _checked(yaml_text.load(text), folder or "/")
    with plain_errors(file):
        try:
            store.create(name, text.encode())
        except FileExistsError as error:
            raise UserError(f"{file}: is there already, and is left as it is; give another name with -o") from error
    return file, f"{seen.amount} ({seen.format})"


def _checked(values: dict[str, object], folder: str) -> RunConfig:
    return RunConfig.parse(values, source="the draft", folder=folder)


def _text(seen: FirstLook, file: str, store: Store) -> str:
    own = drawn_scenes.caution(drawn_scenes.NAME, seen.paths) is None
    beside = ", ".join(f"{count:,} × {ending}" for ending, count in seen.beside.items())
    lines = [
        _comment(f"Masks of {seen.url}, drafted from a first look at it: {seen.amount};"),
        _comment(f"{seen.sizes}."),
        *([_comment(f"Beside them, not read: {beside}.")] if beside else []),
        _comment(f"{shlex.join(['clipseg-ray', 'plan', file])}: what it would do; reads listings, writes nothing."),
        _comment(f"{shlex.join(['clipseg-ray', 'run', file])}: does it, and goes on where it stopped."),
        "input:",
        f"  url: {_quoted(_place(seen.url, store))}   # a path is relative to this file",
        f"  format: {seen.format}",
        *([f"  image_field: {_quoted(seen.image_field)}"] if seen.image_field else []),
        *(_hint(f"id_field: {_quoted(name)}", f"ids of the images, e.g. {example}") for name, example in seen.ids[:1]),
        _hint("sample: 1000", "try so many first, into another output.url"),
        "model:",
        f"  checkpoint: {drawn_scenes.NAME if own else hub.PUBLISHED[0]}"
        + ("   # it knows these drawn scenes only" if own else "   # from the hub, or a folder of save_pretrained"),
        "queries:",
        f"  table: {DEFAULT_TABLE}   # or your own CSV, JSONL, YAML or Parquet; clipseg-ray queries shows one",
        *(
            _hint(f"from: {_quoted(name)}", f"ask each image its own, beside the table or instead: {example}")
            for name, example in seen.phrases[:3]
        ),
        "masks:",
        "  threshold: 0.5   # of probability; a query's own wins",
        _hint("size: image", "masks of each image's size, not of the model's grid"),
        _hint("heat: 88", "keep small maps, by which thresholds can be moved without the model"),
        "output:",
        f"  url: {_quoted(_output(seen, store))}   # made by the first run, added to by later ones",
    ]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    return f"# {printable(' '.join(text.split()))}"


def _hint(setting: str, why: str) -> str:
    """A setting that is not made, and what it would do."""
    why = printable(" ".join(why.split()))
    return f"  # {setting}   # {why if len(why) <= 2 * _SHOWN else why[: 2 * _SHOWN] + '…'}"


def _quoted(text: str) -> str:
    return str(yaml.safe_dump(text, default_style='"', width=10**9, allow_unicode=True)).strip()


def _is_folder(seen: FirstLook) -> bool:
    """Whether the input is a folder with all that is in it."""
    return seen.root.rstrip("/") == absolute(seen.url).rstrip("/")


def _name(seen: FirstLook) -> str:
    """What file and output are called after: the folder, bucket, host or object."""
    where = re.sub(r"[*?\[{].*", "", absolute(seen.url))
    place, _, last = where.rstrip("/").rpartition("/") if _is_folder(seen) else where.rpartition("/")
    stem = last if _is_folder(seen) else last.partition(".")[0] or place.rpartition("/")[2]
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "images"


def _place(url: str, store: Store) -> str:
    """The input's URL as the file says it: relative where it lies below the file's folder."""
    where = absolute(url)
    below = f"{store.url.rstrip('/')}/"
    return where.removeprefix(below) if protocol_of(where) == "file" and where.startswith(below) else where


def _output(seen: FirstLook, store: Store) -> str:
    """A folder that is not there yet: beside the input in its bucket where that can be written, else by the file."""
    name = f"{_name(seen)}-masks"
    beside = _beside_the_input(seen)
    folder = beside if beside and _is_writable(f"{beside}/{name}") else _beside_the_file(seen, store)
    places = (Store(f"{folder.rstrip('/')}/{name}{number}") for number in chain([""], (f"-{n}" for n in count(2))))
    with plain_errors(folder):
        return next(_place(place.url, store) for place in places if next(iter(place.list()), None) is None)


def _beside_the_input(seen: FirstLook) -> str | None:
    """The folder above an input in a bucket; None for a whole bucket, and for what is in none."""
    scheme, _, below = seen.root.rpartition("://")
    bucket, _, key = below.strip("/").partition("/")
    if scheme in ("", "http", "https") or not key:
        return None
    return f"{scheme}://{'/'.join([bucket, *key.split('/')[:-1]])}"


def _beside_the_file(seen: FirstLook, store: Store) -> str:
    """The configuration's folder; where that is part of the input, the folder above the input."""
    inside = f"{store.url.rstrip('/')}/".startswith(f"{seen.root.rstrip('/')}/")
    return seen.root.rstrip("/").rpartition("/")[0] or "/" if inside and _is_folder(seen) else store.url


def _is_writable(url: str) -> bool:
    try:
        with plain_errors(url):
            return Store.of(url).refusal() is None
    except (UserError, OSError):
        return False
