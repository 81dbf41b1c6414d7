"""Text to tokens and back, in any script.

>>> tokenise(normalise("Two  cats, 3 mice"))
[' Two', ' cats', ',', ' 3', ' mice']
>>> tokenise("猫が好き")
['猫', 'が', '好', 'き']
>>> detokenise(tokenise("Two cats, 3 mice"))
'Two cats, 3 mice'
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import regex

_UNSPACED = (
    *("Han", "Hiragana", "Katakana", "Bopomofo", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan"),
    *("Javanese", "Balinese", "Tai_Le", "Tai_Tham", "Yi"),
)
"""Scripts that are written without spaces between words: their tokens are single graphemes."""
BLANK = r"[\s\p{Cc}]"
UNSEEN = r"[\s\p{Cc}\p{Default_Ignorable_Code_Point}]"
LETTER = "[\\p{L}--[" + "".join(f"\\p{{scx={script}}}" for script in _UNSPACED) + "]]"
_WORD = regex.compile(f"(?V1){LETTER}[{LETTER}\\p{{M}}\u200c\u200d]*(?:['’]{LETTER}[{LETTER}\\p{{M}}]*)*")
_TOKEN = regex.compile(f" ?(?:{_WORD.pattern}|\\X)", regex.V1)
_ASCII_TOKEN = re.compile(" ?(?:[A-Za-z]+(?:'[A-Za-z]+)*|.)")
_BLANKS = regex.compile(f"{BLANK}+")
_NOTHING = regex.compile(f"{UNSEEN}*")


def normalise(text: str) -> str:
    """NFC, with every run of white space and control characters as one blank, and none at the ends.

    A text in which nothing can be seen, not even a blank, is "".

    Raises:
        ValueError: it holds a lone surrogate, which no text does.
    """
    if text.isascii() and text.isprintable():  # as most texts in English; the result is the same
        return " ".join(text.split())
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"not valid Unicode: {error.reason} at character {error.start}") from error
    if _NOTHING.fullmatch(text):
        return ""
    return _BLANKS.sub(" ", unicodedata.normalize("NFC", text)).strip(" ")


def tokenise(text: str) -> list[str]:
    """The tokens of a normalised text.

    A token is a word, or one grapheme of anything else: a digit, a sign, an emoji, a syllable of a script without
    spaces. A blank before it belongs to it; a word that begins the text gets one too, so that it is the same token
    as within.
    """
    if text.isascii():  # the same, several times as fast
        tokens = _ASCII_TOKEN.findall(text)
    else:
        tokens = _TOKEN.findall(text)
    if tokens and _WORD.match(tokens[0]):
        tokens[0] = " " + tokens[0]
    return tokens


def detokenise(tokens: Iterable[str]) -> str:
    """The normalised text that some tokens are of."""
    return "".join(tokens).removeprefix(" ")
