"""Unicode's normal form C in time that grows with the length of a text, whatever marks it holds."""

from __future__ import annotations

import functools
import re
import unicodedata

_FEW = 30
"""So many marks in a row are no trouble; no language stacks more (Unicode Standard Annex #15, "stream-safe text")."""


def nfc(text: str) -> str:
    r"""A text in the normal form C, as `unicodedata.normalize` gives it.

    That one puts marks into their order by moving each past those before it, so that long runs of marks in the wrong
    order take the square of their length; here those are sorted first.

    Source: Unicode Standard Annex #15, "Unicode normalization forms"

    >>> nfc("e\u0301")
    'é'
    """
    if len(text) <= _FEW:
        return unicodedata.normalize("NFC", text)
    if unicodedata.is_normalized("NFC", text):  # which is told without moving any
        return text
    return unicodedata.normalize("NFC", _runs().sub(lambda run: _sorted(run[0]), text))


def _sorted(marks: str) -> str:
    """Marks, decomposed, in the order that they have in every normal form."""
    single = "".join(unicodedata.normalize("NFD", mark) for mark in marks)
    return "".join(sorted(single, key=unicodedata.combining))  # which leaves those of a class in their order


@functools.cache
def _runs() -> re.Pattern[str]:
    """Long runs of characters that are marks, or are made of nothing else once they are decomposed."""
    changed = [c for c in map(chr, range(0x300, 0x110000)) if unicodedata.combining(c) or unicodedata.decomposition(c)]
    marks = [c for c in changed if all(map(unicodedata.combining, unicodedata.normalize("NFD", c)))]
    return re.compile(f"[{re.escape(''.join(marks))}]{{{_FEW},}}")
