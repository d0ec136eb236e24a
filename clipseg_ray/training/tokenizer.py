"""Small tokenizers in CLIP's format, for models trained from scratch: byte-level BPE over a given vocabulary."""

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any, cast

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer


def make_tokenizer(words: Iterable[str]) -> CLIPTokenizer:
    """A CLIP byte-level BPE: every byte is a token, so any text will do; each of ``words`` is one token.

    The same set of words gives the same tokenizer, whatever their order.
    """
    alphabet = sorted(ByteLevel.alphabet())
    merges = _learn_merges(sorted({word for word in words if word}))
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]  # last, as in CLIP: pooling may look for the largest id
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=cast(Any, merges), model_max_length=77)


def _learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Byte-pair encoding carried on until each of `words` is a single token."""
    pieces = [[*word[:-1], f"{word[-1]}</w>"] for word in words]
    merges: list[tuple[str, str]] = []
    while True:
        counts = Counter(pair for word in pieces for pair in itertools.pairwise(word))
        if not counts:
            return merges
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        pieces = [_merge(word, best) for word in pieces]


def _merge(word: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    position = 0
    while position < len(word):
        if tuple(word[position : position + 2]) == pair:
            merged.append("".join(pair))
            position += 2
        else:
            merged.append(word[position])
            position += 1
    return merged
