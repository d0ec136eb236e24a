"""Phrases that training may not see: those of published lists of classes, and of words one gives.

A word is meant in any of its forms, several words as they stand, anywhere in a phrase.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from clipseg_ray.errors import nearest
from clipseg_ray.evaluation.splits import pascal_5i, pascal_unseen

_WORDS = Path(__file__).parent / "class_words" / "classes.json"
_AFFORDANCES = "affordances"
_LISTS: dict[str, tuple[str, ...]] = {
    **{f"pas5i/{fold}": tuple(pascal_5i(fold)) for fold in range(4)},
    **{f"zero-shot/{number}": tuple(pascal_unseen(number)) for number in (2, 4, 6, 8, 10)},
    _AFFORDANCES: (_AFFORDANCES,),
}
_PUNCTUATION = ",;:!?()'\"’"
_ENDINGS = (
    *(("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z")),
    *(("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y")),
)
"""How WordNet takes a plural back, which the authors' lemmas are by: of rare words simplemma knows no plural."""


class HeldOut:
    """What a configuration holds out."""

    def __init__(self, entries: Sequence[str]) -> None:
        """entries: names of published lists and words of one's own, as `faults` takes them."""
        named = {entry: [" ".join(word.casefold().split()) for word in words_of(entry)] for entry in entries}
        texts = {text for words in named.values() for text in words}
        self.phrases = sorted(text for text in texts if " " in text)
        self.words = {text for text in texts if " " not in text}
        # Of one's own words the lemma is meant as well; the lists have lemmas: that of "lighter", a boat, is "light".
        self.words |= {_lemma(word) for entry, (word, *_) in named.items() if entry not in _LISTS and " " not in word}
        self._left_out: dict[str, bool] = {}

    def __contains__(self, phrase: str) -> bool:
        """Whether training may not see a phrase."""
        if phrase not in self._left_out:
            self._left_out[phrase] = bool(self.words or self.phrases) and self._holds(phrase)
        return self._left_out[phrase]

    @property
    def left_out(self) -> list[str]:
        """The phrases that were asked about and may not be seen, in order."""
        return sorted(phrase for phrase, held in self._left_out.items() if held)

    @property
    def identity(self) -> list[str]:
        """What is held out, however it was named."""
        return [*self.phrases, *sorted(self.words)]

    def _holds(self, phrase: str) -> bool:
        text = " ".join(phrase.casefold().split())
        if any(words in text for words in self.phrases):
            return True
        return any(not self.words.isdisjoint(forms(word)) for word in _words(text))


def words_of(entry: str) -> Sequence[str]:
    """The words of a published list, or the entry itself."""
    if entry not in _LISTS:
        return (entry,)
    words = _shipped()
    return [word for name in _LISTS[entry] for word in words[name]]


def faults(entries: Sequence[str]) -> Iterator[str]:
    """What is wrong with each entry: an empty one, or nearly the name of a list."""
    for entry in entries:
        if not entry.strip():
            yield "an entry is empty; give a word, words, or a list's name"
        elif entry not in _LISTS and ("/" in entry or nearest(entry, [_AFFORDANCES], cutoff=0.9)):
            close = nearest(entry, _LISTS)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(_LISTS)}"
            yield f"{entry}: no published list of that name; {hint}"


def forms(word: str) -> set[str]:
    """A word (lower case), its lemma, and what it may be the plural of."""
    singular = {word.removesuffix(end) + instead for end, instead in _ENDINGS if word.endswith(end)}
    return {word, _lemma(word), *singular}


def _words(text: str) -> set[str]:
    """What space parts, without the punctuation around it too, and the runs of letters and digits in it."""
    found = {part for word in text.split() for part in (word, word.strip(_PUNCTUATION), word.strip(_PUNCTUATION + "."))}
    return (found | set(re.findall(r"[^\W_]+", text))) - {""}


@cache
def _lemma(word: str) -> str:
    from simplemma import lemmatize  # its dictionary is read where it is needed

    lemma: str = lemmatize(word, lang="en")
    return lemma.casefold()


@cache
def _shipped() -> dict[str, list[str]]:
    words: dict[str, list[str]] = json.loads(_WORDS.read_text(encoding="utf-8"))
    return words
