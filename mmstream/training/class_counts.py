"""How frequent the classes of heads are in the training split: for losses that balance them, and for sampling.

Classes are counted by the values that the examples say their records were given.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmstream.config.schema import Config
from mmstream.errors import MmstreamError
from mmstream.interfaces import Fitted, Head, TensorSpec
from mmstream.plugins import registry
from mmstream.preprocessing import examples
from mmstream.preprocessing.preprocessor import PRESENT

_READ_AT_ONCE = 64


class BalancedDraws:
    """Draws that make the values of a field equally frequent in an epoch, which has as many examples as before.

    A value is drawn N / (K · n) times for each of its n examples, where K values of the vocabulary have N examples in
    all. Examples without the field, or with a value that is not in the vocabulary, are drawn once.

    Args:
        field: the field.
        counts: the number of training examples of each value as it is kept in examples, which is JSON; without the
            values that are not in the vocabulary.
    """

    def __init__(self, field: str, counts: Mapping[bytes, int]) -> None:
        import tensorflow as tf

        total = sum(counts.values())
        draws = [total / (len(counts) * count) for count in counts.values()]
        rows = tf.lookup.KeyValueTensorInitializer(list(counts), draws, tf.string, tf.float64)
        self._table = tf.lookup.StaticHashTable(rows, 1.0)
        self._feature = f"_given/{field}"

    def __call__(self, serialised: Any) -> Any:
        """A batch of serialised examples → float64[B]; TensorFlow code."""
        return self._table.lookup(examples.parse_texts(serialised, [self._feature])[self._feature])


def draws_of(config: Config, examples_path: str, fitted: Mapping[str, Fitted]) -> BalancedDraws | None:
    """The draws that `training.sampling` asks for; None if it asks for none.

    Args:
        config: the config of the training.
        examples_path: output of `mmstream preprocess`.
        fitted: what was fitted to each field.

    Raises:
        MmstreamError: the examples do not say what values they were made of.
    """
    if config.training.sampling is None:
        return None
    field = config.model.heads[config.training.sampling.balanced].target
    counts: Counter[bytes] = Counter()
    for values, _ in _given(examples_path, field, None):
        counts.update(value for value in values if value)
    known = set(fitted[field].vocabulary)
    return BalancedDraws(field, {value: count for value, count in counts.items() if json.loads(value) in known})


def count_classes(
    config: Config,
    heads: Mapping[str, Head],
    examples_path: str,
    fitted: Mapping[str, Fitted],
    draws: BalancedDraws | None,
) -> None:
    """Give each head that needs them the counts of its classes; see `Head.set_class_counts`.

    Args:
        config: the config of the training.
        heads: the layers of its heads.
        examples_path: output of `mmstream preprocess`; it is read once for each field that is counted.
        fitted: what was fitted to each field.
        draws: how often each example is drawn.

    Raises:
        MmstreamError: the examples do not say what values they were made of.
    """
    counts: dict[str, np.ndarray] = {}
    for name, part in config.model.heads.items():
        head: Any = registry.find("head", part.use)
        if hasattr(head, "needs_class_counts") and head.needs_class_counts(part.parameters):
            field = part.target
            if field not in counts:
                counts[field] = _counts(examples_path, field, fitted[field].vocabulary, draws)
            heads[name].set_class_counts(counts[field])


def _counts(examples_path: str, field: str, vocabulary: Sequence[str], draws: BalancedDraws | None) -> np.ndarray:
    """float[V]: how often an epoch has an example with each value of the vocabulary."""
    index = {value: place for place, value in enumerate(vocabulary)}
    counts = np.zeros(len(vocabulary))
    for values, weights in _given(examples_path, field, draws):
        for value, weight in zip(values, weights, strict=True):
            given = json.loads(value) if value else ()
            places = [index[each] for each in ((given,) if isinstance(given, str) else given) if each in index]
            counts[places] += weight
    return counts


def _given(examples_path: str, field: str, draws: BalancedDraws | None) -> Iterator[tuple[list[bytes], np.ndarray]]:
    """The value of a field in each training example as it is kept, b"" if absent, and how often the example is drawn.

    Raises:
        MmstreamError: an example has the field, but does not say which value.
    """
    feature, spec = f"_given/{field}", {field: {PRESENT: TensorSpec((), "float32")}}
    for batch in examples.read_examples(examples.shards_of(examples_path, "train")).batch(_READ_AT_ONCE):
        values = examples.parse_texts(batch, [feature])[feature].numpy().tolist()
        present = examples.parse(batch, spec)[field][PRESENT].numpy()
        if any(is_there and not value for value, is_there in zip(values, present, strict=True)):
            raise MmstreamError(
                f"cannot count the classes of {field!r}: the examples in {examples_path} were written by an earlier "
                "version of mmstream and do not say what each record contains; run `mmstream preprocess` with a new "
                "--output"
            )
        yield values, np.ones(len(values)) if draws is None else draws(batch).numpy()
