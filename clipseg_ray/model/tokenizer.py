"""CLIP's tokenizer: byte-level BPE over a checkpoint's vocabulary, built as transformers' ``CLIPTokenizer`` is.

What goes into it is cleaned first, as OpenAI's does and transformers' does not: see ``cleaning``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE

from clipseg_ray.errors import UserError
from clipseg_ray.model.cleaning import cleaned
from clipseg_ray.model.folder import json_object

_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_NAMED = {
    "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
}
_CLASSES = ("CLIPTokenizer", "CLIPTokenizerFast")


class Tokenizer:
    """Texts to token ids, start and end included.

    longest: how many ids its files let a text have; None where they don't say.
    """

    def __init__(self, backend: Backend, end: int, longest: int | None) -> None:
        self._backend, self._end, self.longest = backend, end, longest

    def ids(self, texts: Sequence[str], longest: int | None = None) -> list[list[int]]:
        """Ids of each text; one of more than ``longest`` is cut before its end token."""
        found = [encoding.ids for encoding in self._backend.encode_batch([cleaned(text) for text in texts])]
        if longest is None:
            return found
        return [ids if len(ids) <= longest else [*ids[: longest - 1], self._end] for ids in found]


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a checkpoint's folder, from ``tokenizer.json`` or else ``vocab.json`` and ``merges.txt``.

    Raises UserError for a tokenizer of another kind.
    """
    settings = json_object(folder / "tokenizer_config.json")
    if (kind := settings.get("tokenizer_class") or _CLASSES[0]) not in _CLASSES:
        raise UserError(f"tokenizer_config.json: tokenizer_class is {kind!r}; CLIPSeg's is {_CLASSES[0]}")
    whole = json_object(folder / "tokenizer.json")
    if whole:
        vocabulary, merges = whole["model"]["vocab"], [_pair(merge) for merge in whole["model"]["merges"]]
    else:
        vocabulary, merges = BPE.read_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    if added := settings.get("added_tokens_decoder"):
        tokens = [_token(added[number]) for number in sorted(added, key=int)]
    else:  # files of before 2023, and of 2026
        settings |= json_object(folder / "special_tokens_map.json")
        tokens = [_token(value) for value in sorted(whole.get("added_tokens", ()), key=lambda value: value["id"])]
    named = {name: _token(settings.get(name) or usual) for name, usual in _NAMED.items()}
    backend = _backend(vocabulary, merges, named["unk_token"].content)
    known = {token.content for token in tokens}
    others = {token.content: token for token in named.values() if token.content not in known}
    backend.add_tokens([*tokens, *others.values()])
    start, end = (
        (token.content, backend.token_to_id(token.content)) for token in (named["bos_token"], named["eos_token"])
    )
    backend.post_processor = processors.RobertaProcessing(end, start, trim_offsets=False, add_prefix_space=False)
    return Tokenizer(backend, end[1], settings.get("model_max_length"))


def _backend(vocabulary: dict[str, int], merges: list[tuple[str, str]], unknown: str) -> Any:
    """CLIP's rules over a vocabulary, as yet without tokens of its own for a text's start and end."""
    backend = Backend(BPE(vocab=vocabulary, merges=merges, unk_token=unknown, end_of_word_suffix="</w>"))
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return backend


def _pair(merge: str | list[str]) -> tuple[str, str]:
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def _token(value: str | dict[str, Any]) -> AddedToken:
    if isinstance(value, str):
        return AddedToken(value, special=True)
    return AddedToken(**{key: each for key, each in value.items() if key not in ("__type", "id")})
