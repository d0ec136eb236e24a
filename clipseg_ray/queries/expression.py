"""Expressions over queries: ``sit-on AND NOT (chair OR sofa)``, read with exact positions of what is wrong.

NOT binds before AND, AND before OR. The three words may be written in any case. An id with spaces, parentheses or
quotes, or one that is such a word, stands in double quotes; a double quote in it is doubled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

DEEPEST = 32
"""Parentheses and NOTs inside each other, at most."""

_TOKEN = re.compile(r'\s*(?:(?P<mark>[()])|"(?P<quoted>(?:[^"]|"")*)"|(?P<bare>[^\s()"]+))')
_BARE = re.compile(r'[^\s()"]+')
_WORDS = ("AND", "OR", "NOT")


@dataclass(frozen=True)
class Operation:
    """AND and OR of two operands or more, NOT of one. ``str`` gives the form that ``parse`` reads."""

    operator: Literal["and", "or", "not"]
    operands: tuple[Term, ...]

    def __str__(self) -> str:
        bound = ("or",) if self.operator == "or" else ("and", "or")
        inside = [
            f"({operand})" if isinstance(operand, Operation) and operand.operator in bound else text_of(operand)
            for operand in self.operands
        ]
        return f"NOT {inside[0]}" if self.operator == "not" else f" {self.operator.upper()} ".join(inside)


Term: TypeAlias = str | Operation
"""A query_id, or an operation on terms."""


def parse(text: str) -> Term:
    """The term that ``text`` writes. Raises ValueError, worded for a person, with the column (from 1) of the fault."""
    return _Reader(text).whole()


def text_of(term: Term) -> str:
    """The form of a term that ``parse`` reads."""
    if isinstance(term, Operation):
        return str(term)
    if _BARE.fullmatch(term) and term.upper() not in _WORDS:
        return term
    return '"' + term.replace('"', '""') + '"'


def ids(term: Term) -> Iterator[str]:
    """The query_ids in a term, in its order, as often as they stand there."""
    if isinstance(term, str):
        yield term
        return
    for operand in term.operands:
        yield from ids(operand)


@dataclass(frozen=True)
class _Token:
    """``kind``: a parenthesis, a word of the grammar, ``id`` or ``end``. ``column``: of its first character, from 1."""

    kind: str
    column: int
    text: str = ""

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else repr(self.text)


class _Reader:
    """Recursive descent: one method a rule, one token of foresight."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._depth = 0
        self._next = next(self._tokens)

    def whole(self) -> Term:
        term = self._chain("OR")
        if self._next.kind == ")":
            raise _fault(self._next, "this ) was never opened")
        if self._next.kind != "end":
            raise _fault(self._next, f"{self._next} follows without AND or OR; an id with spaces needs double quotes")
        return term

    def _chain(self, word: Literal["AND", "OR"]) -> Term:
        operand = self._single if word == "AND" else partial(self._chain, "AND")
        terms = [operand()]
        while self._next.kind == word:
            self._take()
            terms.append(operand())
        operator: Literal["and", "or"] = "and" if word == "AND" else "or"
        return terms[0] if len(terms) == 1 else Operation(operator, tuple(terms))

    def _single(self) -> Term:
        token = self._take()
        if token.kind == "id":
            return token.text
        if token.kind not in ("(", "NOT"):
            raise _fault(token, f"a query_id, NOT or ( is expected, not {token}")
        self._depth += 1
        if self._depth > DEEPEST:
            raise _fault(token, f"more than {DEEPEST} parentheses and NOTs inside each other")
        term = Operation("not", (self._single(),)) if token.kind == "NOT" else self._closed(token)
        self._depth -= 1
        return term

    def _closed(self, opened: _Token) -> Term:
        term = self._chain("OR")
        if self._next.kind == "end":
            raise _fault(opened, "this ( is never closed")
        if self._next.kind != ")":
            raise _fault(self._next, f"AND, OR or ) is expected, not {self._next}")
        self._take()
        return term

    def _take(self) -> _Token:
        token = self._next
        if token.kind != "end":
            self._next = next(self._tokens)
        return token


def _tokens(text: str) -> Iterator[_Token]:
    position, end = 0, len(text.rstrip())
    while position < end:
        found = _TOKEN.match(text, position)
        if found is None:
            quote = text.index('"', position)
            raise _fault(_Token('"', quote + 1), "this quote is never closed")
        name = str(found.lastgroup)
        column = found.start(name) + (0 if name == "quoted" else 1)
        value = found[name]
        if name == "quoted":
            if not value:
                raise _fault(_Token("id", column), "an id in quotes is empty")
            yield _Token("id", column, value.replace('""', '"'))
        elif name == "mark" or value.upper() in _WORDS:
            yield _Token(value.upper(), column, value)
        else:
            yield _Token("id", column, value)
        position = found.end()
    yield _Token("end", end + 1)


def _fault(token: _Token, message: str) -> ValueError:
    return ValueError(f"column {token.column}: {message}")
