"""Text from files and models made fit to be shown: a terminal obeys some characters instead of showing them."""

from __future__ import annotations

import unicodedata

_BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # they reorder what stands around them on the screen


def visible(text: str, keep: str = "") -> str:
    r"""``text`` with its control characters written out, except those in ``keep``.

    Examples
    --------
    >>> print(visible("a\x1b[2Jb\n", keep="\n").rstrip())
    a\x1b[2Jb
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or not _is_control(c) else c.encode("unicode_escape").decode() for c in text)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _BIDI
