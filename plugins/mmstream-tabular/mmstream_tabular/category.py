"""A field of a single value from a fitted vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import annotated_types

from mmstream.interfaces import PADDING, RESERVED_IDS, Field, Fitted, Spec, Suggestion, TensorSpec
from mmstream_tabular import spelling as spellings
from mmstream_tabular.vocabulary import (
    AGAIN,
    BLANKS,
    PARAMETERS_BEFORE,
    Count,
    Spelling,
    counts_of,
    ids_of,
    text_of,
)

_FEW = 20
"""How many values always count as few, for `suggest`."""


class Category(Field):
    """One of the values of the training split, as `id: int64[]`: 0 if absent, 1 if unknown, 4 + v for value v.

    A text is converted to Unicode's NFC with single blanks for white space; an empty one is absent, and so is NaN.
    Each value has one spelling, whichever file it comes from: `True` and `TRUE` are "true"; `2.0` is "2"; a day with
    the time 00:00:00 and no zone is the day alone; a time is in ISO 8601 with a T, seconds, and no zeros at the end of
    a fraction. Any other text stays as it is, such as "007" and "1.10"; any other number is its shortest text.

    Args:
        columns: N columns that are read as one field, `id: int64[N]`; such a field cannot be predicted. The values in
            its vocabulary name their column, such as "colour=red".
        min_count: a value seen less often in training is unknown.
        max_values: the most values that are kept, the most frequent first; the rest are unknown.
        spelling: "as_written" leaves each text as it is; a whole number or boolean is then its text, and other
            numbers and dates are refused.
        missing: texts that stand for a missing value, such as "NA".
    """

    served = "string"
    encoded_by = "embedding"
    predicted_by = "classification"
    parameters_before = PARAMETERS_BEFORE

    def __init__(
        self,
        *,
        columns: Annotated[list[str], annotated_types.MinLen(1)] | None = None,
        min_count: Count = 1,
        max_values: Count = 100_000,
        spelling: Spelling = "canonical",
        missing: tuple[str, ...] = (),
    ) -> None:
        self.spelling = spelling
        self.columns = columns
        self.min_count = min_count
        self.max_values = max_values
        self.missing = frozenset(text_of(text, spelling) for text in missing) | {""}

    @classmethod
    def suggest(cls, values: Sequence[Any]) -> Suggestion | None:
        """Suggest the field for a few values that occur again and again."""
        counts = counts_of([value] for value in values)
        if not counts or len(counts) < 2:
            return None
        again = sum(count for count in counts.values() if count > 1) / len(values)
        few = len(counts) <= max(_FEW, len(values) // 4)
        if not few or again < AGAIN:
            return None
        return Suggestion(0.5 + again / 2.5, {}, f"{len(counts)} different values in {len(values)} rows")

    def decode(self, value: Any) -> dict[str, Any] | None:
        """{"value": texts, "place": the column of each}; None for an empty text, or one of `missing`.

        Raises:
            TypeError: a value is neither text nor number, boolean or date.
            ValueError: one is not valid Unicode.
        """
        if self.columns is None:
            text = text_of(value, self.spelling)
            return None if text in self.missing else {"value": [text], "place": [0]}
        texts = ["" if item is None else text_of(item, self.spelling) for item in value]
        there = [n for n, text in enumerate(texts) if text not in self.missing]
        return {"value": [f"{self.columns[n]}={texts[n]}" for n in there], "place": there} if there else None

    def given(self, decoded: Mapping[str, Any]) -> str | None:
        """The value; None if several columns are read, because no head predicts those."""
        return decoded["value"][0] if self.columns is None else None

    def looked_up(self, decoded: Mapping[str, Any]) -> list[list[str]]:
        """The value of each column, if it has one."""
        texts: list[list[str]] = [[] for _ in self.columns or [""]]
        for text, place in zip(decoded["value"], decoded["place"], strict=True):
            texts[place].append(text)
        return texts

    def raw(self) -> dict[str, Literal["string", "float32", "int64"]]:
        """Texts, and the column of each."""
        return {"value": "string", "place": "int64"}

    def spec(self, fitted: Fitted) -> Spec:
        """{"id": int64[]}, or int64[N] with `columns`."""
        return {"id": TensorSpec(() if self.columns is None else (len(self.columns),), "int64")}

    def graph(self, raw: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Ids in the vocabulary of the training split."""
        import tensorflow as tf

        ids = ids_of(raw["value"], name, self.min_count, self.max_values)
        if self.columns is None:
            return {"id": tf.squeeze(ids.to_tensor(PADDING, shape=[None, 1]), 1)}
        where = tf.stack([raw["place"].indices[:, 0], raw["place"].values], axis=1)
        return {"id": tf.scatter_nd(where, ids.values, [ids.nrows(), len(self.columns)])}

    def count_linear_features(self, fitted: Fitted) -> int:
        """As many as there are ids: those of values, and the reserved ones."""
        return len(fitted.vocabulary) + RESERVED_IDS - 1

    def linear_features(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """The values."""
        return {"ids": tensors["id"]}

    def serve(self, values: Any) -> dict[str, Any]:
        """Texts; empty ones are absent, and one that is not in normal form C is an error in the graph."""
        import tensorflow as tf

        from mmstream.text.graph_text import CHARACTERS, character_class, require_normal_form, single_blanks

        names = [""] if self.columns is None else [f"{column}=" for column in self.columns]
        blank = character_class(sign for sign in CHARACTERS if BLANKS.match(sign))
        texts = single_blanks(tf.reshape(require_normal_form(values), (-1, len(names))), blank)
        for pattern, rewrite in spellings.RULES if self.spelling == "canonical" else ():
            texts = tf.strings.regex_replace(texts, pattern, rewrite)
        rows = tf.shape(texts)[0]
        named = tf.strings.join([tf.tile([names], (rows, 1)), texts])
        places = tf.tile([tf.range(len(names), dtype=tf.int64)], (rows, 1))
        there = tf.reduce_all([texts != text for text in sorted(self.missing)], axis=0)
        return {"value": tf.ragged.boolean_mask(named, there), "place": tf.ragged.boolean_mask(places, there)}
