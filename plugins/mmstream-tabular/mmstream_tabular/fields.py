"""Fields of values from a fitted set: one of them, or any number."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import annotated_types

from mmstream.interfaces import PADDING, RESERVED_IDS, UNKNOWN, Field, Fitted, Spec, TensorSpec

Count = Annotated[int, annotated_types.Ge(1)]


class Category(Field):
    """One value out of those that the training split holds, as `id: int64[]`: 0 absent, 1 unknown, 4 + v value v.

    A string is taken in Unicode's NFC, its white space made single blanks; an empty one is absent. A whole number and
    a truth value stand for their text.

    Args:
        min_count: a value seen less often in training is unknown.
        max_values: so many are kept, the most frequent first; the rest are unknown.
    """

    predicted_by = "classification"

    def __init__(self, *, min_count: Count = 1, max_values: Count = 100_000) -> None:
        self.min_count = min_count
        self.max_values = max_values

    def decode(self, value: Any) -> dict[str, Any] | None:
        """{"value": [text]}; None for an empty text.

        Raises:
            TypeError: it is neither text nor a whole number.
            ValueError: it is not valid Unicode.
        """
        text = _text(value)
        return {"value": [text]} if text else None

    def raw(self) -> dict[str, Literal["string", "float32", "int64"]]:
        """The text."""
        return {"value": "string"}

    def spec(self, fitted: Fitted) -> Spec:
        """{"id": int64[]}."""
        return {"id": TensorSpec((), "int64")}

    def graph(self, raw: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Ids by a vocabulary of the training split."""
        import tensorflow as tf

        ids = _ids(raw["value"], name, self.min_count, self.max_values)
        return {"id": tf.squeeze(ids.to_tensor(PADDING, shape=[None, 1]), 1)}


class Tags(Field):
    """Any number of values out of those that the training split holds, as `hot: uint8[V]`, 1 where a tag is given.

    No tags at all (an empty list) is a known answer; None is an unknown one. Values are taken as `category` takes them.

    Args:
        min_count: a tag seen less often in training is not learnt.
        max_values: so many are kept, the most frequent first.
        separator: a text is split there; without it, a text in place of a list is refused.
    """

    predicted_by = "tagging"

    def __init__(self, *, min_count: Count = 1, max_values: Count = 10_000, separator: str | None = None) -> None:
        if separator == "":
            raise ValueError("separator may not be empty")
        self.min_count = min_count
        self.max_values = max_values
        self.separator = separator

    def decode(self, value: Any) -> dict[str, Any]:
        """{"values": distinct texts}.

        Raises:
            TypeError: it is not a list of texts or whole numbers.
            ValueError: one is not valid Unicode.
        """
        if isinstance(value, str) and self.separator is not None:
            value = value.split(self.separator)
        if not isinstance(value, list | tuple):
            hint = "; a text needs the parameter `separator`" if isinstance(value, str) else ""
            raise TypeError(f"expected a list of tags; found {type(value).__name__}{hint}")
        return {"values": [text for text in dict.fromkeys(map(_text, value)) if text]}

    def raw(self) -> dict[str, Literal["string", "float32", "int64"]]:
        """The tags."""
        return {"values": "string"}

    def spec(self, fitted: Fitted) -> Spec:
        """{"hot": uint8[V]}."""
        return {"hot": TensorSpec((len(fitted.vocabulary),), "uint8")}

    def graph(self, raw: Mapping[str, Any], name: str) -> dict[str, Any]:
        """One place for each value of the vocabulary; unknown tags have none."""
        import tensorflow as tf
        import tensorflow_transform as tft

        ids = _ids(raw["values"], name, self.min_count, self.max_values)
        count = tf.cast(tft.experimental.get_vocabulary_size_by_name(name), tf.int32)
        places = ids.to_tensor(PADDING) - RESERVED_IDS  # negative places light nothing
        hot = tf.one_hot(places, count, on_value=True, off_value=False, dtype=tf.bool)
        return {"hot": tf.cast(tf.reduce_any(hot, axis=1), tf.int64)}  # no place at all, no tag


def _ids(values: Any, name: str, min_count: int, max_values: int) -> Any:
    """tf.SparseTensor of strings → tf.RaggedTensor of ids; the vocabulary is called `name`."""
    import tensorflow as tf
    import tensorflow_transform as tft

    found = tft.compute_and_apply_vocabulary(
        values,
        default_value=UNKNOWN - RESERVED_IDS,
        top_k=max_values,
        frequency_threshold=min_count if min_count > 1 else None,
        vocab_filename=name,
    )
    return tf.RaggedTensor.from_sparse(found) + RESERVED_IDS


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise TypeError(f"expected a text or a whole number; found {type(value).__name__}: {value!r:.80}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"not valid Unicode: {error.reason} in {value!r:.80}") from error
    return " ".join(re.sub(r"[\s\x00-\x1f]+", " ", unicodedata.normalize("NFC", value)).split())
