"""Fields whose values are from a fitted vocabulary: a single value, or any number of values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import annotated_types

from mmstream.errors import brief
from mmstream.interfaces import PADDING, RESERVED_IDS, UNKNOWN, Field, Fitted, Spec, Suggestion, TensorSpec
from mmstream.text.normal_form import nfc
from mmstream_tabular import spelling as spellings
from mmstream_tabular.lists import list_in
from mmstream_tabular.notation import commas_say_numbers

Count = Annotated[int, annotated_types.Ge(1)]
Spelling = Literal["canonical", "as_written"]

MAX_CHARACTERS = 64 * 1024
"""A longer text is refused as a category or tag."""
MAX_TAGS = 64 * 1024
"""The most tags of a record."""
_FEW, _AGAIN, _ENOUGH, _LONGEST_TAG = 20, 0.8, 5, 60
"""For `suggest`: how many values always count as few; what share of values must occur more than once; how often a tag
must occur to be learnt; how long a tag may be."""
_SEPARATORS = ("|", ";", ",")
_BEFORE = {"spelling": "as_written"}
_BLANKS = re.compile(r"[\s\x00-\x1f]+")


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
    parameters_before = _BEFORE

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
        self.missing = frozenset(_text(text, spelling) for text in missing) | {""}

    @classmethod
    def suggest(cls, values: Sequence[Any]) -> Suggestion | None:
        """Suggest the field for a few values that occur again and again."""
        counts = _counts([value] for value in values)
        if not counts or len(counts) < 2:
            return None
        again = sum(count for count in counts.values() if count > 1) / len(values)
        few = len(counts) <= max(_FEW, len(values) // 4)
        if not few or again < _AGAIN:
            return None
        return Suggestion(0.5 + again / 2.5, {}, f"{len(counts)} different values in {len(values)} rows")

    def decode(self, value: Any) -> dict[str, Any] | None:
        """{"value": texts, "place": the column of each}; None for an empty text, or one of `missing`.

        Raises:
            TypeError: a value is neither text nor number, boolean or date.
            ValueError: one is not valid Unicode.
        """
        if self.columns is None:
            text = _text(value, self.spelling)
            return None if text in self.missing else {"value": [text], "place": [0]}
        texts = ["" if item is None else _text(item, self.spelling) for item in value]
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

        ids = _ids(raw["value"], name, self.min_count, self.max_values)
        if self.columns is None:
            return {"id": tf.squeeze(ids.to_tensor(PADDING, shape=[None, 1]), 1)}
        where = tf.stack([raw["place"].indices[:, 0], raw["place"].values], axis=1)
        return {"id": tf.scatter_nd(where, ids.values, [ids.nrows(), len(self.columns)])}

    def serve(self, values: Any) -> dict[str, Any]:
        """Texts; empty ones are absent, and one that is not in normal form C is an error in the graph."""
        import tensorflow as tf

        from mmstream.text.graph_text import CHARACTERS, character_class, require_normal_form, single_blanks

        names = [""] if self.columns is None else [f"{column}=" for column in self.columns]
        blank = character_class(sign for sign in CHARACTERS if _BLANKS.match(sign))
        texts = single_blanks(tf.reshape(require_normal_form(values), (-1, len(names))), blank)
        for pattern, rewrite in spellings.RULES if self.spelling == "canonical" else ():
            texts = tf.strings.regex_replace(texts, pattern, rewrite)
        rows = tf.shape(texts)[0]
        named = tf.strings.join([tf.tile([names], (rows, 1)), texts])
        places = tf.tile([tf.range(len(names), dtype=tf.int64)], (rows, 1))
        there = tf.reduce_all([texts != text for text in sorted(self.missing)], axis=0)
        return {"value": tf.ragged.boolean_mask(named, there), "place": tf.ragged.boolean_mask(places, there)}


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
    parameters_before = _BEFORE

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
            counts, parameters = _counts(values), {}
        elif all(isinstance(value, str) for value in values):
            lists = [list_in(value) for value in values]
            if 2 * sum(items is not None for items in lists) > len(lists):
                return cls._suggestion(_counts(items or () for items in lists), {}, len(values))
            separator = max(_SEPARATORS, key=lambda sign: sum(sign in value for value in values))
            if sum(separator in value for value in values) < len(values) / 4:
                return None
            if separator == "," and commas_say_numbers(values):
                return None
            counts, parameters = _counts(value.split(separator) for value in values), {"separator": separator}
        else:
            return None
        return cls._suggestion(counts, parameters, len(values))

    @staticmethod
    def _suggestion(counts: dict[str, int] | None, parameters: dict[str, str], rows: int) -> Suggestion | None:
        if not counts or max(len(tag) for tag in counts) > _LONGEST_TAG:
            return None
        again = sum(count for count in counts.values() if count > 1) / sum(counts.values())
        frequent = sum(count >= _ENOUGH for count in counts.values())
        if not frequent or (parameters and again < _AGAIN):
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
            hint = "; a text needs the parameter `separator`" if isinstance(value, str) else ""
            raise TypeError(f"expected a list of tags; found {type(value).__name__}{hint}")
        _check_count(len(value))
        texts = dict.fromkeys(_text(item, self.spelling) for item in value)
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

    def graph(self, raw: Mapping[str, Any], name: str) -> dict[str, Any]:
        """One element per value of the vocabulary; unknown tags have none."""
        import tensorflow as tf
        import tensorflow_transform as tft

        ids = _ids(raw["values"], name, self.min_count, self.max_values)
        count = tf.cast(tft.experimental.get_vocabulary_size_by_name(name), tf.int32)
        places = ids.to_tensor(PADDING) - RESERVED_IDS  # negative indices set nothing
        hot = tf.one_hot(places, count, on_value=True, off_value=False, dtype=tf.bool)
        return {"hot": tf.cast(tf.reduce_any(hot, axis=1), tf.int64)}  # if the vocabulary is empty, there are no tags


def _counts(rows: Iterable[Iterable[Any]]) -> dict[str, int] | None:
    """The number of rows in which each value occurs; None if anything is not a value."""
    counts: Counter[str] = Counter()
    for row in rows:
        try:
            counts.update({text for text in (_text(value, "canonical") for value in row) if text})
        except (TypeError, ValueError):
            return None
    return counts


def _ids(values: Any, name: str, min_count: int, max_values: int) -> Any:
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


def _check_count(tags: int) -> None:
    if tags > MAX_TAGS:
        raise ValueError(f"it holds {tags:,} tags; at most {MAX_TAGS:,} are read")


def _text(value: Any, spelling: Spelling) -> str:
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
            f"a text of {len(text):,} characters is too long for a category or tag; at most {MAX_CHARACTERS:,} are read"
        )
    return " ".join(_BLANKS.sub(" ", nfc(text)).split())
