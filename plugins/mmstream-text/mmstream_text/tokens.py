"""Convert text to tokens and back, in any script.

>>> tokenise(normalise("Two  cats, 3 mice"))
[' Two', ' cats', ',', ' 3', ' mice']
>>> tokenise("猫が好き")
['猫', 'が', '好', 'き']
>>> detokenise(tokenise("Two cats, 3 mice"))
'Two cats, 3 mice'
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

import regex

from mmstream.text.normal_form import nfc

MAX_CHARACTERS = 4 * 1024 * 1024
"""A longer text is refused."""
MAX_TOKENS = 1024 * 1024
"""A text of more tokens is refused."""
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
_PIECE_FLAGS = 16
_MANY_FLAGS = re.compile(f"[\U0001f1e6-\U0001f1ff]{{{2 * _PIECE_FLAGS + 1}}}")
_FLAGS = regex.compile(f"(?:\\p{{RI}}{{2}}){{{_PIECE_FLAGS}}}(?=\\p{{RI}})")
"""A run of flags that one more follows: to see where a flag ends, the library counts all flags before it."""


def normalise(text: str) -> str:
    """Convert to NFC, with every run of white space and control characters as one blank, and no blank at the ends.

    A text in which nothing can be seen, not even a blank, is "".

    Raises:
        ValueError: it holds a lone surrogate, which no text does, or is too long.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"the text has {len(text):,} characters; the limit is {MAX_CHARACTERS:,}")
    if text.isascii() and text.isprintable():  # like most English texts; the result is the same
        return " ".join(text.split())
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"not valid Unicode: {error.reason} at character {error.start}") from error
    if _NOTHING.fullmatch(text):
        return ""
    return _BLANKS.sub(" ", nfc(text)).strip(" ")


def tokenise(text: str) -> list[str]:
    """The tokens of a normalised text.

    A token is a word, or one grapheme of anything else: a digit, a sign, an emoji, a syllable of a script without
    spaces. A blank before it belongs to it; a word that begins the text gets one too, so that it is the same token as
    inside a text.
    """
    pattern = _ASCII_TOKEN if text.isascii() else _TOKEN  # the former gives the same tokens, several times as fast
    if len(text) <= MAX_TOKENS and not _MANY_FLAGS.search(text):
        tokens = pattern.findall(text)
    elif len(text) <= MAX_TOKENS:
        tokens = [token for piece in _pieces(text) for token in pattern.findall(piece)]
    else:
        found = (token[0] for piece in _pieces(text) for token in pattern.finditer(piece))
        tokens = list(islice(found, MAX_TOKENS + 1))
        if len(tokens) > MAX_TOKENS:
            raise ValueError(f"the text has more than the limit of {MAX_TOKENS:,} words and symbols")
    if tokens and _WORD.match(tokens[0]):
        tokens[0] = " " + tokens[0]
    return tokens


def _pieces(text: str) -> Iterator[str]:
    """Cut a text between flags where many follow each other: nothing else makes a token depend on far earlier text."""
    start = 0
    if not text.isascii():
        for flags in _FLAGS.finditer(text):
            yield text[start : flags.end()]
            start = flags.end()
    yield text[start:] if start else text


def detokenise(tokens: Iterable[str]) -> str:
    """Join tokens to the normalised text that they come from."""
    return "".join(tokens).removeprefix(" ")
