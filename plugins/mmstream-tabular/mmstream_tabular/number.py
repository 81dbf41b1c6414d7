"""The field of numbers: one column of them, or several."""

from __future__ import annotations

import decimal
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import annotated_types

from mmstream.errors import brief, listed
from mmstream.interfaces import Field, Fitted, Spec, Suggestion, TensorSpec
from mmstream_tabular.notation import DecimalSign, Notation, ThousandsSign, are_codes, notation_of, signs_in
from mmstream_tabular.spelling import TRUTHS, held

_MANY = 10
"""Fewer different numbers than this are probably categories."""
_FEW_CODES = 20
"""This many different whole numbers, or fewer, may be codes of classes."""
_LARGEST = 3.4e38
"""The largest number of float32."""
_NAMED = 5
"""How many values that are not numbers are named at most."""


class Number(Field):
    """Numbers, scaled by statistics of the training split, as `values: float32[N]` and `known: float32[N]`.

    A missing number has the value 0 (the mean, after "standard" scaling) and `known` 0; a record that lacks all N is
    absent. A text is a number if, apart from blanks around it, it consists of the digits 0 to 9, optionally with a
    sign, a decimal point and an exponent: "3", "+3", ".5", "5.", "-4e2". `decimal` and `thousands` describe other
    notations, such as "1.957,75". A boolean is 1 or 0, also as the text "true" or "False". An empty text, None and
    NaN are missing; any other value is refused, and so are infinite ones.

    Args:
        columns: N columns that are read as one field; without it N is 1.
        scale: "standard" subtracts the mean and divides by the standard deviation, "minmax" maps the least to 0 and the
            largest to 1, "none" leaves numbers as they are.
        clip: scaled numbers are limited to this distance from 0; None for no limit.
        missing: texts that stand for a missing number, such as "NA".
        decimal: the decimal sign of numbers in texts.
        thousands: the separator that may stand between groups of three digits. A blank includes non-breaking ones, and
            an apostrophe the curved one. None for no separator.
    """

    encoded_by = "mlp"
    predicted_by = "regression"
    served = "float32"
    statistics: tuple[str, ...] = ("offset", "factor")

    def __init__(
        self,
        *,
        columns: Annotated[list[str], annotated_types.MinLen(1)] | None = None,
        scale: Literal["standard", "minmax", "none"] = "standard",
        clip: Annotated[float, annotated_types.Gt(0)] | None = 10.0,
        missing: tuple[str, ...] = (),
        decimal: DecimalSign = ".",
        thousands: ThousandsSign | None = None,
    ) -> None:
        if decimal == thousands:
            raise ValueError(f"decimal and thousands: expected different separators; both are {decimal!r}")
        self.count = 1 if columns is None else len(columns)
        self.several = columns is not None
        self.scale = scale
        self.clip = clip
        self.missing = frozenset(missing) | {""}
        self._notation = Notation(decimal, thousands)

    @classmethod
    def suggest(cls, values: Sequence[Any]) -> Suggestion | None:
        """Suggest the field for many different numbers; a single text that recurs among them is a missing one."""
        texts = _texts(values)
        notation = notation_of(texts)
        if notation is None or are_codes(texts):
            return None
        numbers, others = _read(values, notation)
        if len(numbers) < _MANY or len(others) > 1 or others.total() > len(values) / 2 or any(map(_is_truth, values)):
            return None
        missing = {"missing": list(others)} if others else {}
        codes = len(numbers) <= _FEW_CODES and all(number.is_integer() for number in numbers)
        absent = "".join(f"; {brief(text)} ({count:,}) is taken for a missing value" for text, count in others.items())
        why = f"numbers from {min(numbers):g} to {max(numbers):g}{notation.in_words}{absent}"
        return Suggestion(0.5 if codes else 0.95, {**missing, **notation.parameters}, why)

    @classmethod
    def why_not(cls, values: Sequence[Any]) -> str:
        """Say why numbers cannot be read: signs beside them, ambiguous commas, or a few other values."""
        texts = _texts(values)
        kinds = Counter(kind for kind in map(signs_in, texts) if kind)
        if kinds.total() > len(values) / 2:
            kind = kinds.most_common(1)[0][0]
            example = next(text for text in texts if signs_in(text) == kind)
            return f"numbers with {kind}, such as {brief(example)}: write only the numbers, so `number` can read them"
        notation = notation_of(texts)
        if notation is None:
            example = next(text for text in texts if "," in text)
            return (
                f"numbers with commas, such as {brief(example)}, which may separate thousands or decimals: say "
                'which with `{use: number, thousands: ","}` or `{use: number, decimal: ","}`'
            )
        numbers, others = _read(values, notation)
        if len(numbers) < _MANY or others.total() > len(values) / 2:
            return ""
        if are_codes(texts):
            example = next(text for text in texts if are_codes([text]))
            return (
                f"numbers that begin with a zero, such as {brief(example)}, are taken for codes, but there are too "
                "many for categories; if they are numbers, say `{use: number}`"
            )
        if not others:
            return ""
        examples = listed((f"{brief(text)} ({count:,})" for text, count in others.most_common()), _NAMED)
        return (
            f"numbers, except for {others.total():,} of {len(values):,} values: {examples}; `missing` of the field "
            "`number` can name those that stand for a missing value"
        )

    def decode(self, value: Any) -> dict[str, Any] | None:
        """{"value_<n>": [number] or []}; None where all are missing.

        Raises:
            TypeError: a value is neither a number nor a text.
            ValueError: a text is not a number, or a number is infinite or too large for float32.
        """
        numbers = [self._number(item) for item in (value if self.several else [value])]
        if all(number is None for number in numbers):
            return None
        return {f"value_{n}": [] if number is None else [number] for n, number in enumerate(numbers)}

    def given(self, decoded: Mapping[str, Any]) -> float | list[float | None] | None:
        """The numbers before scaling and clipping."""
        numbers: list[float | None] = [next(iter(decoded[f"value_{n}"]), None) for n in range(self.count)]
        return numbers if self.several else numbers[0]

    def raw(self) -> dict[str, Literal["string", "float32", "int64"]]:
        """One raw column for each column of the field."""
        return {f"value_{n}": "float32" for n in range(self.count)}

    def spec(self, fitted: Fitted) -> Spec:
        """{"values": float32[N], "known": float32[N]}."""
        return {name: TensorSpec((self.count,), "float32") for name in ("values", "known")}

    def graph(self, raw: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Scaled numbers; also the statistics `offset` and `factor`: number = offset + factor · scaled."""
        import tensorflow as tf

        columns: dict[str, list[Any]] = {"values": [], "known": [], "offset": [], "factor": []}
        for n in range(self.count):
            ragged = tf.RaggedTensor.from_sparse(raw[f"value_{n}"])
            there = tf.cast(ragged.row_lengths() > 0, tf.float32)
            value = tf.squeeze(ragged.to_tensor(0.0, shape=[None, 1]), 1)
            offset, factor = self._fit(raw[f"value_{n}"].values)
            scaled = (value - offset) / factor
            if self.clip is not None:
                scaled = tf.clip_by_value(scaled, -self.clip, self.clip)
            columns["values"].append(scaled * there)
            columns["known"].append(there)
            columns["offset"].append(tf.fill(tf.shape(there), offset))
            columns["factor"].append(tf.fill(tf.shape(there), factor))
        return {key: tf.stack(tensors, axis=1) for key, tensors in columns.items()}

    def count_linear_features(self, fitted: Fitted) -> int:
        """As many as the field has numbers."""
        return self.count

    def linear_features(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """The scaled numbers, 0 for one that is missing."""
        return {"dense": tensors["values"]}

    def serve(self, values: Any) -> dict[str, Any]:
        """Numbers, with NaN for a missing one; an infinite one is an error in the graph."""
        import tensorflow as tf

        numbers = tf.reshape(values, (-1, self.count))
        there = tf.logical_not(tf.math.is_nan(numbers))
        sound = tf.debugging.Assert(
            tf.reduce_all(tf.abs(tf.where(there, numbers, 0.0)) <= _LARGEST), ["a number is too large", numbers]
        )
        with tf.control_dependencies([sound]):
            numbers = tf.identity(numbers)
        return {
            f"value_{n}": tf.ragged.boolean_mask(numbers[:, n : n + 1], there[:, n : n + 1]) for n in range(self.count)
        }

    def _fit(self, values: Any) -> tuple[Any, Any]:
        """Offset and factor of one column, scalars; fitted in float64, so that the order of the data has no effect."""
        import tensorflow as tf
        import tensorflow_transform as tft

        if self.scale == "none":
            return tf.constant(0.0), tf.constant(1.0)
        exact = tf.cast(values, tf.float64)
        if self.scale == "minmax":
            offset = tft.min(exact)
            factor = tft.max(exact) - offset
        else:
            offset, factor = tft.mean(exact), tf.sqrt(tft.var(exact))
        factor = tf.where(factor > 0, factor, tf.ones_like(factor))
        return tf.cast(offset, tf.float32), tf.cast(factor, tf.float32)

    def _number(self, value: Any) -> float | None:
        plain = held(value)
        if isinstance(plain, decimal.Decimal):
            plain = float(plain)
        if isinstance(plain, str):
            text = plain.strip()
            if text in self.missing:
                return None
            number = float(TRUTHS[text]) if text in TRUTHS else self._notation.parsed(text)
        elif isinstance(plain, int | float):
            if plain != plain:
                return None
            number = float(plain) if abs(plain) <= _LARGEST else math.inf
        elif plain is None:
            return None
        else:
            raise TypeError(f"expected a number; found {type(plain).__name__}: {brief(plain)}")
        if abs(number) > _LARGEST:
            raise ValueError(f"{brief(plain)} is too large")
        return number


def _texts(values: Sequence[Any]) -> list[str]:
    """The texts among some values."""
    return [value.strip() for value in values if isinstance(value, str)]


def _read(values: Sequence[Any], notation: Notation) -> tuple[set[float], Counter[str]]:
    """The different numbers among some values, and how often each value that is not a number occurs."""
    field, numbers, others = (
        Number(decimal=notation.decimal, thousands=notation.thousands),
        set[float](),
        Counter[str](),
    )
    for value in values:
        try:
            number = field._number(value)
        except (TypeError, ValueError):
            others[str(value).strip()] += 1
        else:
            numbers.update(() if number is None else (number,))
    return numbers, others


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, str) and value.strip() in TRUTHS)
