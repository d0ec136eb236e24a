"""What stands beside an image in its shard: members of text and JSON, as the sample's fields."""

from __future__ import annotations

from typing import Any

from clipseg_ray import json_text
from clipseg_ray.plain_text import Unread, text_of

TEXT_EXTENSIONS = ("txt", "text", "cls", "caption", "label", "id", "url")


def is_sidecar(extension: str) -> bool:
    """Whether a member of this extension (lower case) gives fields."""
    kind = extension.rpartition(".")[2]
    return kind == "json" or kind in TEXT_EXTENSIONS


def fields_of(extension: str, data: bytes, name: str) -> dict[str, Any]:
    """The fields of one member: the keys of a ``json`` object, else one field under the extension.

    An Unread stands for what is no text or no JSON: under ``json`` for all the fields that it may have had.
    """
    try:
        text = text_of(data)
        value = json_text.load(text) if extension.rpartition(".")[2] == "json" else text
    except ValueError as error:
        return {extension: Unread(f"{name} cannot be read ({error})")}
    return value if extension == "json" and isinstance(value, dict) else {extension: value}
