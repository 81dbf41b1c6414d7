"""Unicode in TensorFlow graphs, which have RE2's regular expressions but no normal forms."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np

CHARACTERS = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))
"""All Unicode characters."""


def character_class(characters: Iterable[str]) -> str:
    r"""Return an RE2 character class that matches some characters.

    >>> character_class("fabcx")
    '[\\x{61}-\\x{63}\\x{66}-\\x{66}\\x{78}-\\x{78}]'
    """
    runs: list[list[int]] = []
    for code in sorted(set(map(ord, characters))):
        if runs and runs[-1][1] == code - 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return "[" + "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in runs) + "]"


def contains(texts: Any, pattern: str) -> Any:
    """Return whether a pattern occurs in each text: tf.string[…] → bool[…]."""
    import tensorflow as tf

    return tf.strings.regex_full_match(texts, f"(?s).*(?:{pattern}).*")


def single_blanks(texts: Any, blank: str) -> Any:
    """Replace each run of a pattern's matches in tf.string[…] with one blank, and remove blanks at the ends."""
    import tensorflow as tf

    return tf.strings.regex_replace(tf.strings.regex_replace(texts, f"(?:{blank})+", " "), "^ | $", "")


def require(condition: Any, texts: Any, message: str) -> Any:
    """Return the texts if a condition holds for all of them; otherwise raise an error in the graph.

    Args:
        condition: bool[…].
        texts: tf.string[…].
        message: the message of that tf.errors.InvalidArgumentError.
    """
    import tensorflow as tf

    wrong = tf.boolean_mask(texts, tf.logical_not(condition))
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(tf.size(wrong), 0), [message, wrong])]):
        return tf.identity(texts)


def require_normal_form(texts: Any) -> Any:
    """Return tf.string[…] if all are valid UTF-8 in Unicode's normal form C; otherwise raise an error in the graph.

    Source: Unicode Standard Annex #15, "Unicode normalization forms".
    """
    import tensorflow as tf

    valid = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="strict")
    message = "a text is not in Unicode's normal form C (NFC); convert it to that form first"
    return require(in_normal_form(valid), valid, message)


def in_normal_form(texts: Any) -> Any:
    """Return which of some valid texts are in the normal form C: tf.string[…] → bool[…]."""
    import tensorflow as tf

    orders, pairs = _tables()
    # A blank before each text composes with nothing, so all texts can be examined as one.
    codes = tf.strings.unicode_decode(tf.strings.join([" ", tf.reshape(texts, [-1])]), "UTF-8")
    code = codes.flat_values
    order = tf.cast(tf.gather(orders, tf.minimum(code, len(orders) - 1)), tf.int32)
    before = tf.concat([[0], order[:-1]], axis=0)
    starts = order == 0
    start_before = tf.gather(
        tf.concat([[0], tf.where(starts)[:, 0]], axis=0), tf.cumsum(tf.cast(starts, tf.int32), exclusive=True)
    )
    adjacent = start_before == tf.range(tf.size(code, tf.int64), dtype=tf.int64) - 1
    pair = tf.cast(tf.gather(code, start_before), tf.int64) * _CODES + tf.cast(code, tf.int64)
    place = tf.minimum(tf.searchsorted(pairs, pair), len(pairs) - 1)
    composes = (tf.gather(pairs, place) == pair) & (adjacent | (before < order))
    wrong = (order == _CHANGES) | ((before > order) & ~starts) | composes
    return tf.reshape(~tf.reduce_any(codes.with_flat_values(wrong), axis=1), tf.shape(texts))


_CODES = 0x110000
_CHANGES = 255
"""Replaces the combining class of a character that the normal form C changes; real classes end at 240."""


@functools.cache
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """Make the tables by which a graph recognises the normal form C.

    Returns:
        uint8[any]: the combining class of each character up to the last that is not a starter, and one 0 for the rest.
        int64[any]: `first * _CODES + second` of each pair that the normal form C composes, in order. A second also
        composes over marks after the first, if their classes are smaller than its own.
    """
    orders = np.zeros(_CODES, np.uint8)
    firsts, seconds = map(set, _HANGUL)
    for character in CHARACTERS:
        if unicodedata.normalize("NFC", character) != character:
            orders[ord(character)] = _CHANGES
            continue
        orders[ord(character)] = unicodedata.combining(character)
        parts = unicodedata.decomposition(character).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            firsts |= {character, chr(int(parts[0], 16))}
            seconds.add(chr(int(parts[1], 16)))
    pairs = [
        ord(first) * _CODES + ord(second)
        for first in sorted(firsts)
        for second in sorted(seconds)
        if orders[ord(first)] == 0 and unicodedata.normalize("NFC", first + second) != first + second
    ]
    return orders[: orders.nonzero()[0][-1] + 2], np.array(pairs, np.int64)


_HANGUL = (
    "".join(map(chr, (*range(0x1100, 0x1113), *range(0xAC00, 0xD7A4, 28)))),
    "".join(map(chr, (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)))),
)
"""First and second parts of Korean syllables, which compose by rule."""
