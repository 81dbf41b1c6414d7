"""Fields of values from a fitted set: one of them, or any number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import annotated_types

from mmstream.errors import brief
from mmstream.interfaces import PADDING, RESERVED_IDS, UNKNOWN, Field, Fitted, Spec, Suggestion, TensorSpec
from mmstream.normal_form import nfc

Count = Annotated[int, annotated_types.Ge(1)]

MAX_CHARACTERS = 64 * 1024
"""A longer text is taken for no category or tag."""
MAX_TAGS = 64 * 1024
"""Tags of a record."""
_FEW, _AGAIN, _ENOUGH, _LONGEST_TAG = 20, 0.8, 5, 60
"""What `suggest` goes by: so many values are always few; this share of them has to come more than once; a tag that
comes so often can be learnt; no tag is longer than this."""
_SEPARATORS = ("|", ";", ",")
_BLANKS = re.compile(r"[\s\x00-\x1f]+")


class Category(Field):
    """One value out of those that the training split holds, as `id: int64[]`: 0 absent, 1 unknown, 4 + v value v.

    A string is taken in Unicode's NFC, its white space made single blanks; an empty one is absent. A whole number and
    a truth value stand for their text.

    Args:
        columns: N columns that are read as one field, `id: int64[N]`; such a field cannot be predicted. Its fitted
            values say which column they are of, as "colour=red".
        min_count: a value seen less often in training is unknown.
        max_values: so many are kept, the most frequent first; the rest are unknown.
    """

    served = "string"
    encoded_by = "embedding"
    predicted_by = "classification"

    def __init__(
        self,
        *,
        columns: Annotated[list[str], annotated_types.MinLen(1)] | None = None,
        min_count: Count = 1,
        max_values: Count = 100_000,
    ) -> None:
        self.columns = columns
        self.min_count = min_count
        self.max_values = max_values

    @classmethod
    def suggest(cls, values: Sequence[Any]) -> Suggestion | None:
        """A few values that come again and again."""
        counts = _counts([value] for value in values)
        if not counts or len(counts) < 2:
            return None
        again = sum(count for count in counts.values() if count > 1) / len(values)
        few = len(counts) <= max(_FEW, len(values) // 4)
        if not few or again < _AGAIN:
            return None
        return Suggestion(0.5 + again / 2.5, {}, f"{len(counts)} different values in {len(values)} rows")

    def decode(self, value: Any) -> dict[str, Any] | None:
        """{"value": texts, "place": the column of each}; None for an empty text.

        Raises:
            TypeError: a value is neither text nor a whole number.
            ValueError: one is not valid Unicode.
        """
        if self.columns is None:
            text = _text(value)
            return {"value": [text], "place": [0]} if text else None
        texts = ["" if item is None else _text(item) for item in value]
        there = [n for n, text in enumerate(texts) if text]
        return {"value": [f"{self.columns[n]}={texts[n]}" for n in there], "place": there} if there else None

    def raw(self) -> dict[str, Literal["string", "float32", "int64"]]:
        """Texts, and in which column each stands."""
        return {"value": "string", "place": "int64"}

    def spec(self, fitted: Fitted) -> Spec:
        """{"id": int64[]}, or int64[N] where columns are named."""
        return {"id": TensorSpec(() if self.columns is None else (len(self.columns),), "int64")}

    def graph(self, raw: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Ids by a vocabulary of the training split."""
        import tensorflow as tf

        ids = _ids(raw["value"], name, self.min_count, self.max_values)
        if self.columns is None:
            return {"id": tf.squeeze(ids.to_tensor(PADDING, shape=[None, 1]), 1)}
        where = tf.stack([raw["place"].indices[:, 0], raw["place"].values], axis=1)
        return {"id": tf.scatter_nd(where, ids.values, [ids.nrows(), len(self.columns)])}

    def serve(self, values: Any) -> dict[str, Any]:
        """Texts, of which empty ones are absent; one not in the normal form C is an error in the graph."""
        import tensorflow as tf

        from mmstream.graph_text import CHARACTERS, character_class, require_normal_form, single_blanks

        names = [""] if self.columns is None else [f"{column}=" for column in self.columns]
        blank = character_class(sign for sign in CHARACTERS if _BLANKS.match(sign))
        texts = single_blanks(tf.reshape(require_normal_form(values), (-1, len(names))), blank)
        rows = tf.shape(texts)[0]
        named = tf.strings.join([tf.tile([names], (rows, 1)), texts])
        places = tf.tile([tf.range(len(names), dtype=tf.int64)], (rows, 1))
        there = texts != ""
        return {"value": tf.ragged.boolean_mask(named, there), "place": tf.ragged.boolean_mask(places, there)}


class Tags(Field):
    """Any number of values out of those that the training split holds, as `hot: uint8[V]`, 1 where a tag is given.

    No tags at all (an empty list) is a known answer; None is an unknown one. Values are taken as `category` takes them.

    Args:
        min_count: a tag seen less often in training is not learnt.
        max_values: so many are kept, the most frequent first.
        separator: a text is split there; without it, a text in place of a list is refused.
    """

    encoded_by = "bag_of_tags"
    predicted_by = "tagging"

    def __init__(self, *, min_count: Count = 1, max_values: Count = 10_000, separator: str | None = None) -> None:
        if separator == "":
            raise ValueError("separator may not be empty")
        self.min_count = min_count
        self.max_values = max_values
        self.separator = separator

    @classmethod
    def suggest(cls, values: Sequence[Any]) -> Suggestion | None:
        """Lists of words, or texts that are such lists; words that come once are left out."""
        if all(isinstance(value, list | tuple) for value in values):
            counts, parameters = _counts(values), {}
        elif all(isinstance(value, str) for value in values):
            separator = max(_SEPARATORS, key=lambda sign: sum(sign in value for value in values))
            if sum(separator in value for value in values) < len(values) / 4:
                return None
            counts, parameters = _counts(value.split(separator) for value in values), {"separator": separator}
        else:
            return None
        if not counts or max(len(tag) for tag in counts) > _LONGEST_TAG:
            return None
        again = sum(count for count in counts.values() if count > 1) / sum(counts.values())
        frequent = sum(count >= _ENOUGH for count in counts.values())
        if not frequent or (parameters and again < _AGAIN):
            return None
        more = {"min_count": _ENOUGH} if 1 < frequent < len(counts) else {}
        why = f"{len(counts)} different tags in {len(values)} rows, {frequent} of them {_ENOUGH} times or more"
        return Suggestion(0.95, {**parameters, **more}, why)

    def decode(self, value: Any) -> dict[str, Any]:
        """{"values": distinct texts}.

        Raises:
            TypeError: it is not a list of texts or whole numbers.
            ValueError: one is not valid Unicode, or there are too many.
        """
        if isinstance(value, str) and self.separator is not None:
            _check_count(value.count(self.separator) + 1)
            value = value.split(self.separator)
        if not isinstance(value, list | tuple):
            hint = "; a text needs the parameter `separator`" if isinstance(value, str) else ""
            raise TypeError(f"expected a list of tags; found {type(value).__name__}{hint}")
        _check_count(len(value))
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


def _counts(rows: Iterable[Iterable[Any]]) -> dict[str, int] | None:
    """How often each value stands in some rows; None where something is no value."""
    counts: Counter[str] = Counter()
    for row in rows:
        try:
            counts.update({text for text in map(_text, row) if text})
        except (TypeError, ValueError):
            return None
    return counts


def _ids(values: Any, name: str, min_count: int, max_values: int) -> Any:
    """tf.SparseTensor of strings → tf.RaggedTensor of ids; the vocabulary is called `name`."""
    import tensorflow as tf
    import tensorflow_transform as tft

    found = tft.compute_and_apply_vocabulary(
        values,
        default_value=UNKNOWN - RESERVED_IDS,
        top_k=max_values,
        frequency_threshold=min_count if min_count > 1 else None,
        weights=tf.ones_like(values.values, tf.float32),  # with weights, a batch is counted before it leaves TensorFlow
        vocab_filename=name,
    )
    return tf.RaggedTensor.from_sparse(found) + RESERVED_IDS


def _check_count(tags: int) -> None:
    if tags > MAX_TAGS:
        raise ValueError(f"it holds {tags:,} tags; at most {MAX_TAGS:,} are read")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    if not isinstance(value, str):
        raise TypeError(f"expected a text or a whole number; found {type(value).__name__}: {brief(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"not valid Unicode: {error.reason} in {brief(value)}") from error
    if len(value) > MAX_CHARACTERS:
        raise ValueError(
            f"a text of {len(value):,} characters is no value of a set; at most {MAX_CHARACTERS:,} are read"
        )
    return " ".join(_BLANKS.sub(" ", nfc(value)).split())
