"""A field of any number of values from a fitted vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mmstream.interfaces import PADDING, RESERVED_IDS, Field, Fitted, Spec, Suggestion, TensorSpec
from mmstream_tabular.lists import list_in
from mmstream_tabular.notation import commas_say_numbers
from mmstream_tabular.vocabulary import AGAIN, PARAMETERS_BEFORE, Count, Spelling, counts_of, ids_of, text_of

MAX_TAGS = 64 * 1024
"""The most tags of a record."""
_ENOUGH, _LONGEST_TAG = 5, 60
"""For `suggest`: how often a tag must occur to be learnt; how long a tag may be."""
_SEPARATORS = ("|", ";", ",")


class Tags(Field):
    """Any number of the values of the training split, as `hot: uint8[V]`: 1 for each tag of the record.

    An empty list means that there are no tags; None means that they are not known. Values are spelt as by `category`.
    A text may be a list or a set as Python or JSON writes one: "['a', 'b']".

    Args:
        min_count: a tag seen less often in training is not learnt.
        max_values: the most tags that are kept, the most frequent first.
        separator: divides a text into tags; without it, a text that is not a list is refused.
        spelling: see `category`.
        missing: texts that mean that the tags are not known, such as "NA".
    """

    encoded_by = "bag_of_tags"
    predicted_by = "tagging"
    parameters_before = PARAMETERS_BEFORE

    def __init__(
        self,
        *,
        min_count: Count = 1,
        max_values: Count = 10_000,
        separator: str | None = None,
        spelling: Spelling = "canonical",
        missing: tuple[str, ...] = (),
    ) -> None:
        if separator == "":
            raise ValueError("separator may not be empty")
        self.min_count = min_count
        self.max_values = max_values
        self.separator = separator
        self.spelling = spelling
        self.missing = frozenset(missing)

    @classmethod
    def suggest(cls, values: Sequence[Any]) -> Suggestion | None:
        """Suggest the field for lists of words, or texts that are such lists; words that occur once do not count."""
        if all(isinstance(value, list | tuple) for value in values):
            counts, parameters = counts_of(values), {}
        elif all(isinstance(value, str) for value in values):
            lists = [list_in(value) for value in values]
            if 2 * sum(items is not None for items in lists) > len(lists):
                return cls._suggestion(counts_of(items or () for items in lists), {}, len(values))
            separator = max(_SEPARATORS, key=lambda sign: sum(sign in value for value in values))
            if sum(separator in value for value in values) < len(values) / 4:
                return None
            if separator == "," and commas_say_numbers(values):
                return None
            counts, parameters = counts_of(value.split(separator) for value in values), {"separator": separator}
        else:
            return None
        return cls._suggestion(counts, parameters, len(values))

    @staticmethod
    def _suggestion(counts: dict[str, int] | None, parameters: dict[str, str], rows: int) -> Suggestion | None:
        if not counts or max(len(tag) for tag in counts) > _LONGEST_TAG:
            return None
        again = sum(count for count in counts.values() if count > 1) / sum(counts.values())
        frequent = sum(count >= _ENOUGH for count in counts.values())
        if not frequent or (parameters and again < AGAIN):
            return None
        more = {"min_count": _ENOUGH} if 1 < frequent < len(counts) else {}
        why = f"{len(counts)} different tags in {rows} rows, {frequent} of them {_ENOUGH} times or more"
        return Suggestion(0.95, {**parameters, **more}, why)

    def decode(self, value: Any) -> dict[str, Any] | None:
        """{"values": distinct texts}; None for a text of `missing`.

        Raises:
            TypeError: it is not a list of texts, numbers, booleans or dates.
            ValueError: one is not valid Unicode, or there are too many.
        """
        if isinstance(value, str):
            if value.strip() in self.missing:
                return None
            value = self._split(value)
        if not isinstance(value, list | tuple):
            hint = "; text needs the parameter `separator`" if isinstance(value, str) else ""
            raise TypeError(f"expected a list of tags; found {type(value).__name__}{hint}")
        _check_count(len(value))
        texts = dict.fromkeys(text_of(item, self.spelling) for item in value)
        return {"values": [text for text in texts if text]}

    def looked_up(self, decoded: Mapping[str, Any]) -> list[list[str]]:
        """The tags."""
        return [decoded["values"]]

    def given(self, decoded: Mapping[str, Any]) -> list[str]:
        """The tags."""
        return decoded["values"]

    def _split(self, text: str) -> list[str] | str:
        """The tags in a text; the text itself if it is not a list."""
        if self.separator is not None:
            _check_count(text.count(self.separator) + 1)
            return text.split(self.separator)
        _check_count(text.count(",") + 1)
        items = list_in(text)
        return text if items is None else items

    def raw(self) -> dict[str, Literal["string", "float32", "int64"]]:
        """The tags."""
        return {"values": "string"}

    def spec(self, fitted: Fitted) -> Spec:
        """{"hot": uint8[V]}."""
        return {"hot": TensorSpec((len(fitted.vocabulary),), "uint8")}

    def count_linear_features(self, fitted: Fitted) -> int:
        """As many as the field has values."""
        return len(fitted.vocabulary)

    def linear_features(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """The tags."""
        return {"dense": tensors["hot"]}

    def graph(self, raw: Mapping[str, Any], name: str) -> dict[str, Any]:
        """One element per value of the vocabulary; unknown tags have none."""
        import tensorflow as tf
        import tensorflow_transform as tft

        ids = ids_of(raw["values"], name, self.min_count, self.max_values)
        count = tf.cast(tft.experimental.get_vocabulary_size_by_name(name), tf.int32)
        places = ids.to_tensor(PADDING) - RESERVED_IDS  # negative indices set nothing
        hot = tf.one_hot(places, count, on_value=True, off_value=False, dtype=tf.bool)
        return {"hot": tf.cast(tf.reduce_any(hot, axis=1), tf.int64)}  # if the vocabulary is empty, there are no tags


def _check_count(tags: int) -> None:
    if tags > MAX_TAGS:
        raise ValueError(f"it holds {tags:,} tags; the limit is {MAX_TAGS:,}")
