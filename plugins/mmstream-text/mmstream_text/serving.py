"""The tokens of `mmstream_text.tokens` in a TensorFlow graph, for exported models."""

from __future__ import annotations

import functools
from typing import Any

import regex
import tensorflow as tf

from mmstream.text.graph_text import CHARACTERS, character_class, contains, require, require_normal_form, single_blanks
from mmstream_text.tokens import BLANK, LETTER, UNSEEN

_SEPARATOR = "\x1f"
"""A control character; a normalised text has none."""


def tokens(texts: Any, *, lowercase: bool) -> Any:
    """The tokens of texts, as `tokenise(normalise(text))` returns them.

    Args:
        texts: tf.string[B].
        lowercase: whether capitals are folded, as `str.lower` does.

    Returns:
        tf.RaggedTensor of strings [B, any]. A text that is not valid UTF-8, or not in the normal form C, is an error
        in the graph.
    """
    normal = _normalised(texts)
    if lowercase:
        lowered = tf.strings.lower(normal, encoding="utf-8")
        strange = require(
            ~contains(normal, _lowered_otherwise()), normal, "a text has capitals that cannot be lowercased in a graph"
        )
        with tf.control_dependencies([strange]):
            normal = _normalised(lowered)
    letter = _class(LETTER)
    begun = tf.strings.regex_replace(normal, f"^{letter}", " \\0")
    marked = tf.strings.regex_replace(begun, _token(), f"\\0{_SEPARATOR}")
    split = tf.strings.split(marked, _SEPARATOR)
    return tf.ragged.boolean_mask(split, split != "")


def _normalised(texts: Any) -> Any:
    normal = require_normal_form(texts)
    seen = tf.strings.regex_replace(normal, f"^{_class(UNSEEN)}*$", "")
    return single_blanks(seen, _class(BLANK))


@functools.cache
def _class(pattern: str) -> str:
    """RE2's class of the single characters that a pattern of the library `regex` matches."""
    return character_class(regex.findall(pattern, CHARACTERS, regex.V1))


@functools.cache
def _token() -> str:
    """RE2's pattern for a word or a grapheme cluster, including a blank before it.

    Source: Unicode Standard Annex #29, "Unicode text segmentation", table 1c.
    """
    letter, mark = _class(LETTER), _class(f"{LETTER}|[\\p{{M}}\u200c\u200d]")
    inner = _class(f"{LETTER}|\\p{{M}}")
    word = f"{letter}{mark}*(?:['’]{letter}{inner}*)*"
    kind = {name: _class(f"\\p{{GCB={name}}}") for name in ("L", "V", "T", "LV", "LVT", "Prepend", "SpacingMark")}
    extend, control = _class("\\p{GCB=Extend}"), _class("[\\p{GCB=Control}\\p{GCB=CR}\\p{GCB=LF}]")
    picture, indicator = _class("\\p{Extended_Pictographic}"), _class("\\p{GCB=Regional_Indicator}")
    consonant, linker = _class("\\p{InCB=Consonant}"), _class("\\p{InCB=Linker}")
    joined = _class("[\\p{InCB=Linker}\\p{InCB=Extend}]")
    conjunct = f"{joined}*{linker}{joined}*{consonant}"  # the library `regex` asks for no consonant before it
    cores = (
        f"{kind['L']}*(?:{kind['V']}+|{kind['LV']}{kind['V']}*|{kind['LVT']}){kind['T']}*|{kind['L']}+|{kind['T']}+",
        f"{indicator}{indicator}",
        f"{picture}(?:{extend}*\u200d{picture})*",
        conjunct,
        f"[^{control[1:]}",
    )
    after = _class("[\\p{GCB=Extend}\\p{GCB=ZWJ}\\p{GCB=SpacingMark}]")
    return f" ?(?:{word}|{kind['Prepend']}*(?:{'|'.join(cores)})(?:{conjunct}|{after})*|{control})"


@functools.cache
def _lowered_otherwise() -> str:
    """The characters that TensorFlow lowercases differently from Python, or not at all."""
    with tf.init_scope():
        found = tf.strings.lower(list(CHARACTERS), encoding="utf-8").numpy().tolist()
    strange = [c for c, lowered in zip(CHARACTERS, found, strict=True) if c.lower() != lowered.decode()]
    return character_class(strange) if strange else "[^\\x{0}-\\x{10ffff}]"
