"""Manifests: a table of image URLs in CSV, TSV, Parquet or JSON lines, cut into slices."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from clipseg_ray.addresses import below, is_whole, joined, protocol_of, without_query
from clipseg_ray.boundary import is_local, named_by
from clipseg_ray.errors import UserError, nearest
from clipseg_ray.outside_text import entered_value
from clipseg_ray.plain_text import is_missing
from clipseg_ray.redaction import HIDDEN, redacted
from clipseg_ray.sources.base import Member
from clipseg_ray.sources.images import Images
from clipseg_ray.sources.manifest_rows import JSON_LINES, PARQUET, rows
from clipseg_ray.storage import Store, get_many, plain_errors

URL_COLUMNS = ("image", "image_url", "url", "image_path", "path", "file_name", "filename", "file", "img", "uri")

_OF_A_ROW = re.compile(r"\.(csv|tsv|jsonl|ndjson|parquet|pq)@[0-9]+$", re.IGNORECASE)
"""The name that stands for the image of a row that names none."""


class Manifest(Images):
    """The images that the rows of a table name.

    ``image_field`` names the column of URLs, by default the first of ``URL_COLUMNS`` there is. URLs are absolute or
    relative to the manifest's folder. The other columns become fields. CSV columns are text, as they are written.
    An image's URL is its key and, unless ``id_field`` names a column, its ``image_id``. Of a URL that holds a secret (a
    signature, a token, a password) only what is left without it is kept: that is the image's key, also where the URL is
    signed anew, and whoever fetches the image reads the manifest again.
    """

    name = "manifest"
    endings = (".csv", ".tsv", *JSON_LINES)
    further_endings = PARQUET
    one_object = True

    def __init__(self, root: str, **settings: Any) -> None:
        super().__init__(root, **settings)
        self._signed_in: tuple[Member, ...] = ()  # the manifests with URLs that hold secrets
        self._signed: dict[str, str] | None = None  # their URLs by identity, once they are asked for

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_signed": None}  # what is pickled may be kept, and printed

    def members(self, objects: Sequence[Member]) -> Sequence[Member]:
        """One member per row, in the order of the rows.

        Raises UserError for a table that cannot be read or lacks the column, for ids that occur twice, and without
        ``id_field`` for an image that two different rows name, or one whose URL holds a secret.
        """
        found: dict[str, tuple[Member, str]] = {}
        signed: dict[str, Member] = {}
        for manifest in objects:
            column = ""
            columns: dict[str, None] = {}
            for number, row in enumerate(map(entered_value, self._rows(manifest)), 1):
                where = f"{manifest.path} row {number}"
                column = column or self._url_column(manifest, row)
                columns |= dict.fromkeys(row)
                member, url = self._member(manifest, row, column, number)
                if url != member.path:
                    signed[manifest.path] = manifest
                    if self.id_of(row, "") == "":
                        raise UserError(
                            f"{where}: {member.path} holds a secret (***), which would be in the image's id and "
                            "changes when the URL is signed anew; set input.id_field to a column that names every image"
                        )
                identity = self.identity(member)
                if identity not in found:
                    found[identity] = (member, where)
                elif found[identity][0] != member:
                    other = found[identity][1]
                    if self.id_field is not None:
                        raise UserError(f"{where}: {self.id_field} '{identity}' (input.id_field) is taken by {other}")
                    raise UserError(
                        f"{where}: it names {member.path} as {other} does, with other columns; remove one, or set "
                        "input.id_field to a column that distinguishes them"
                    )
            if self.id_field is not None and columns and self.id_field not in columns:
                near = nearest(self.id_field, columns)
                raise UserError(
                    f"{manifest.path}: it has no column '{self.id_field}' (input.id_field) to take ids from; it has "
                    f"{', '.join(columns)}{f'; did you mean {near[0]}?' if near else ''}"
                )
        if not found:
            names = ", ".join(manifest.path for manifest in objects)
            raise UserError(f"{names}: no row, so no image is named; check input.url")
        members = [member for member, _ in found.values()]
        self._signed_in, self._signed = tuple(signed.values()), None
        _refuse_what_nobody_serves(members)
        return members

    def identity(self, member: Member) -> str:
        """The row's id where ``id_field`` gives one, else its path."""
        return self.id_of(json.loads(member.fields or "{}") if self.id_field else {}, member.path)

    def refuse(self, url: str) -> None:
        """See ``Images.refuse``: a manifest that is not on this machine names no file of it."""
        if _OF_A_ROW.search(url):
            raise UserError("its row names no image")
        named_by(self.root, self.url_of(url), self.boundary)

    def addresses(self, members: Sequence[Member]) -> list[str]:
        """See ``Images.addresses``; those that hold a secret are in the manifest alone."""
        return [
            self._signed_url(member) if self._signed_in and HIDDEN in member.path else self.url_of(member.path)
            for member in members
        ]

    def _signed_url(self, member: Member) -> str:
        if self._signed is None:
            self._signed = {}
            for manifest in self._signed_in:
                column = ""
                for number, row in enumerate(map(entered_value, self._rows(manifest)), 1):
                    column = column or self._url_column(manifest, row)
                    found, url = self._member(manifest, row, column, number)
                    if url != found.path:
                        self._signed.setdefault(self.identity(found), url)
        if self.identity(member) not in self._signed:
            raise UserError(f"{member.path}: its row is gone from the manifest, which alone has its signed URL")
        return self.url_of(self._signed[self.identity(member)])

    def _member(self, manifest: Member, row: dict[str, Any], column: str, number: int) -> tuple[Member, str]:
        """The row's member without secrets, and its path with them."""
        url = row.pop(column, None)
        folder, _, name = without_query(self.url_of(manifest.path)).rpartition("/")
        # A row without a URL keeps its place: the name it is given is asked for nowhere and becomes its error row.
        path = f"{name}@{number}" if is_missing(url) else str(url).strip()
        path = path.removeprefix("file://")
        if not is_whole(path):
            path = below(joined(folder or "/", path), self.root)
        kept = path if is_local(self.url_of(path)) else redacted(path)
        fields = redacted(json.dumps(row, ensure_ascii=False, default=str)) if row else None
        return Member(kept, fields=fields), path

    def _url_column(self, manifest: Member, row: dict[str, Any]) -> str:
        for name in (self.image_field,) if self.image_field else URL_COLUMNS:
            if name in row:
                return str(name)
        wanted = f"column '{self.image_field}'" if self.image_field else f"column {', '.join(URL_COLUMNS)}"
        near = [column for column in row if column.strip().lower() in URL_COLUMNS]
        near += nearest(self.image_field, row) if self.image_field else []
        raise UserError(
            f"{manifest.path}: it has no {wanted}; set input.image_field to the column of image URLs, one of: "
            f"{', '.join(row)}{f'; did you mean {near[0]}?' if near else ''}"
        )

    def _rows(self, manifest: Member) -> Iterator[dict[str, Any]]:
        url = self.url_of(manifest.path)
        with plain_errors(url):
            data = get_many([url])[0]
            if isinstance(data, Exception):
                raise data
        asked = (self.image_field, self.id_field, self.text_field)
        yield from rows(data, manifest.path, without_query(url), id_field=self.id_field, asked=asked)


def _refuse_what_nobody_serves(members: Sequence[Member]) -> None:
    """Raise UserError where no URL can be fetched here; among others that can, such a one is its own image's fault.

    A scheme that some package would serve is refused in any case: whoever wrote the manifest means all its images.
    """
    schemes = {protocol_of(member.path): member.path for member in members}
    unserved = []
    for url in schemes.values():
        try:
            if not is_local(url):
                Store.of(url)
        except UserError as error:
            if isinstance(error.__cause__, ImportError):
                raise
            unserved.append(error)
    if unserved and len(unserved) == len(schemes):
        raise unserved[0]
