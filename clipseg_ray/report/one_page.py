"""HTML pages that are one file and need nothing but a browser.

Style, script and data are in the file. Text enters a page as JSON and becomes text nodes only; a content security
policy by hash lets no other script run.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from clipseg_ray import __version__
from clipseg_ray.errors import UserError
from clipseg_ray.storage import Store, plain_errors


def document(
    template: str, page: Mapping[str, Any], *, title: str, styles: Sequence[str], scripts: Sequence[str]
) -> str:
    """One file of those in the folder ``page``. Its script finds ``page`` as JSON in the element ``data``."""
    folder = resources.files("clipseg_ray.report") / "page"
    style, script = ("\n".join((folder / name).read_text("utf-8") for name in names) for names in (styles, scripts))
    parts = {
        "title": html.escape(title),
        "version": __version__,
        "style": style,
        "style_hash": _csp_hash(style),
        "script": script,
        "script_hash": _csp_hash(script),
        # Inside a script element only "<" could end it; JSON may write it as an escape.
        "data": json.dumps(page, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    text = (folder / template).read_text("utf-8").replace("{{head}}", (folder / "head.html").read_text("utf-8"))
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], text)


def _csp_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def data_url(data: bytes, kind: str) -> str:
    """An image of a kind (``webp``, ``png``) as a URL that a page can hold."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def put(destination: str, page: bytes) -> str:
    """Write a page to a ``.html`` file, or to ``index.html`` in a folder; returns its URL."""
    if not destination.lower().endswith((".html", ".htm")):
        destination = f"{destination.rstrip('/')}/index.html"
    folder, _, name = Store.of(destination).url.rpartition("/")
    if not name:
        raise UserError(f"{destination}: give -o a file ending in .html, or a folder")
    store = Store.of(folder or "/")
    with plain_errors(store.url):
        store.put(name, page)
    return store.url_of(name)
