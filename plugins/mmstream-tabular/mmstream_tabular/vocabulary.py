"""What `category` and `tags` share: the texts by which values are looked up in a fitted vocabulary, and their ids."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import annotated_types

from mmstream.errors import brief
from mmstream.interfaces import RESERVED_IDS, UNKNOWN
from mmstream.text.normal_form import nfc
from mmstream_tabular import spelling as spellings

Count = Annotated[int, annotated_types.Ge(1)]
Spelling = Literal["canonical", "as_written"]

MAX_CHARACTERS = 64 * 1024
"""A longer text is refused as a category or tag."""
AGAIN = 0.8
"""For `suggest`: what share of values must occur more than once."""
PARAMETERS_BEFORE = {"spelling": "as_written"}
"""The values of parameters for configs that were written before these parameters existed."""
BLANKS = re.compile(r"[\s\x00-\x1f]+")


def counts_of(rows: Iterable[Iterable[Any]]) -> dict[str, int] | None:
    """The number of rows in which each value occurs; None if anything is not a value."""
    counts: Counter[str] = Counter()
    for row in rows:
        try:
            counts.update({text for text in (text_of(value, "canonical") for value in row) if text})
        except (TypeError, ValueError):
            return None
    return counts


def ids_of(values: Any, name: str, min_count: int, max_values: int) -> Any:
    """tf.SparseTensor of strings → tf.RaggedTensor of ids; the vocabulary is named `name`."""
    import tensorflow as tf
    import tensorflow_transform as tft

    places = tft.compute_and_apply_vocabulary(
        values,
        default_value=UNKNOWN - RESERVED_IDS,
        top_k=max_values,
        frequency_threshold=min_count if min_count > 1 else None,
        weights=tf.ones_like(values.values, tf.float32),  # with weights, a batch is counted before it leaves TensorFlow
        vocab_filename=name,
    )
    return tf.RaggedTensor.from_sparse(places) + RESERVED_IDS


def text_of(value: Any, spelling: Spelling) -> str:
    """The text by which a value is looked up; "" if it is absent.

    Raises:
        TypeError: it is of a type that cannot be a category or tag.
        ValueError: it is not valid Unicode, or too long.
    """
    if spelling == "canonical":
        return spellings.canonical(_normal(spellings.written(value)))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    if not isinstance(value, str):
        raise TypeError(f"expected text or a whole number; found {type(value).__name__}: {brief(value)}")
    return _normal(value)


def _normal(text: str) -> str:
    """A text in the normal form C, with single blanks for white space.

    Raises:
        ValueError: it is not valid Unicode, or too long.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"not valid Unicode: {error.reason} in {brief(text)}") from error
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"text of {len(text):,} characters is too long for a category or tag; the limit is {MAX_CHARACTERS:,}"
        )
    return " ".join(BLANKS.sub(" ", nfc(text)).split())
