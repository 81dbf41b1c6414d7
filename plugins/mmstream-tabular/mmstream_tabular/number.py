"""The field of numbers: one column of them, or several."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import annotated_types

from mmstream.errors import brief
from mmstream.interfaces import Field, Fitted, Spec, Suggestion, TensorSpec

_MANY = 10
"""Fewer different numbers than this are rather categories."""
_LARGEST = 3.4e38
"""What float32 holds."""


class Number(Field):
    """Numbers, scaled by what the training split holds, as `values: float32[N]` and `known: float32[N]`.

    A missing number is 0 (after "standard" scaling the mean) and known as 0; a record that lacks all N is absent. A
    text that says a number is one; an empty text, None and NaN are missing.

    Args:
        columns: N columns that are read as one field; without it N is 1.
        scale: "standard" takes off the mean and divides by the standard deviation, "minmax" maps the least to 0 and the
            largest to 1, "none" leaves numbers as they are.
        clip: scaled numbers further from 0 than this are moved to it; None for all as they come.
        missing: texts that mean that there is no number, as "NA".
    """

    encoded_by = "mlp"
    predicted_by = "regression"
    served = "float32"
    statistics: ClassVar[tuple[str, ...]] = ("offset", "factor")

    def __init__(
        self,
        *,
        columns: Annotated[list[str], annotated_types.MinLen(1)] | None = None,
        scale: Literal["standard", "minmax", "none"] = "standard",
        clip: Annotated[float, annotated_types.Gt(0)] | None = 10.0,
        missing: tuple[str, ...] = (),
    ) -> None:
        self.count = 1 if columns is None else len(columns)
        self.several = columns is not None
        self.scale = scale
        self.clip = clip
        self.missing = frozenset(missing) | {""}

    @classmethod
    def suggest(cls, values: Sequence[Any]) -> Suggestion | None:
        """Numbers of many values; a text that comes between them again and again stands for a missing one."""
        numbers, others = [], Counter[str]()
        for value in values:
            try:
                number = cls()._number(value)
            except (TypeError, ValueError):
                others[str(value).strip()] += 1
            else:
                numbers.append(number)
        known = {number for number in numbers if number is not None}
        if len(known) < _MANY or len(others) > 1 or others.total() > len(values) / 2 or any(map(_is_bool, values)):
            return None
        missing = {"missing": list(others)} if others else {}
        return Suggestion(0.9, missing, f"numbers from {min(known):g} to {max(known):g}")

    def decode(self, value: Any) -> dict[str, Any] | None:
        """{"value_<n>": [number] or []}; None where all are missing.

        Raises:
            TypeError: a value is neither a number nor a text.
            ValueError: a text says no number, or it is infinite or too large for float32.
        """
        numbers = [self._number(item) for item in (value if self.several else [value])]
        if all(number is None for number in numbers):
            return None
        return {f"value_{n}": [] if number is None else [number] for n, number in enumerate(numbers)}

    def raw(self) -> dict[str, Literal["string", "float32", "int64"]]:
        """One raw column for each column."""
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
            known = tf.cast(ragged.row_lengths() > 0, tf.float32)
            value = tf.squeeze(ragged.to_tensor(0.0, shape=[None, 1]), 1)
            offset, factor = self._fit(raw[f"value_{n}"].values)
            scaled = (value - offset) / factor
            if self.clip is not None:
                scaled = tf.clip_by_value(scaled, -self.clip, self.clip)
            columns["values"].append(scaled * known)
            columns["known"].append(known)
            columns["offset"].append(tf.fill(tf.shape(known), offset))
            columns["factor"].append(tf.fill(tf.shape(known), factor))
        return {key: tf.stack(tensors, axis=1) for key, tensors in columns.items()}

    def serve(self, values: Any) -> dict[str, Any]:
        """Numbers, where NaN stands for a missing one; an infinite one is an error in the graph."""
        import tensorflow as tf

        numbers = tf.reshape(values, (-1, self.count))
        known = tf.logical_not(tf.math.is_nan(numbers))
        sound = tf.debugging.Assert(
            tf.reduce_all(tf.abs(tf.where(known, numbers, 0.0)) <= _LARGEST), ["a number is too large", numbers]
        )
        with tf.control_dependencies([sound]):
            numbers = tf.identity(numbers)
        return {
            f"value_{n}": tf.ragged.boolean_mask(numbers[:, n : n + 1], known[:, n : n + 1]) for n in range(self.count)
        }

    def _fit(self, values: Any) -> tuple[Any, Any]:
        """Offset and factor of one column, scalars; fitted in float64, so that the order of the data does not show."""
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
        if isinstance(value, str):
            text = value.strip()
            if text in self.missing:
                return None
            try:
                number = float(text)
            except ValueError as error:
                raise ValueError(f"expected a number; found {brief(value)}") from error
            if math.isnan(number):
                raise ValueError(f"{brief(value)} is no number; `missing: [{text}]` would make it a missing one")
        elif isinstance(value, int | float):
            number = float(value) if abs(value) <= _LARGEST or value != value else math.inf
        elif value is None:
            return None
        else:
            raise TypeError(f"expected a number; found {type(value).__name__}: {brief(value)}")
        if math.isnan(number):
            return None
        if abs(number) > _LARGEST:
            raise ValueError(f"{brief(value)} is too large")
        return number


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)
