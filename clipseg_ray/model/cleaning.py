"""Texts as CLIP was trained on them: mended and unescaped, as OpenAI's tokenizer does before it looks for tokens."""

from __future__ import annotations


def cleaned(text: str) -> str:
    """What OpenAI's ``basic_clean`` makes of a text: ``ftfy.fix_text``, then HTML's entities resolved, twice.

    Typographic quotes become straight ones, ligatures and full-width letters plain ones, wrongly decoded text what it
    was, ``&amp;`` an ampersand. Plain text comes back as it is, without space around it.
    """
    if text.isascii() and text.isprintable() and "&" not in text:
        return text.strip()
    import html

    import ftfy  # 50 ms that most texts can do without

    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()
