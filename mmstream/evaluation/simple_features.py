"""Features for baselines that need no network: the colours of pictures, TF-IDF of texts, and tabular values.

They are computed from the examples, so a baseline reads the same records as the network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from keras import ops
from scipy import sparse
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mmstream.evaluation.tfidf import Tfidf, WordCodes, character_codes
from mmstream.interfaces import Spec
from mmstream.models.colours import Colours
from mmstream.preprocessing import examples
from mmstream.preprocessing.preprocessor import PRESENT

Kind = Literal["text", "picture", "table"]

MOST_RECORDS = 20_000
"""The most training records that baselines read. They are a random sample, because examples are in parts."""
_MOST_CHARACTERS = 4_000
"""How much of each text is read."""
_MOST_NUMBERS = 1_024
"""A tensor of more numbers is not a tabular value."""
_MOST_CHARACTERS_IN_ALL, _FEWEST_CHARACTERS = 5_000_000, 200
"""Of so many characters of all training texts together, sequences of characters are counted, as these take long; but of
at least so many of each text."""
_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Column:
    """What baselines read of a field.

    Attributes:
        kind: how its values become features.
        values: texts as object[N]; or float32[N, F], the features of pictures or the numbers of a tabular field.
        codes: int64[N, K], values that are only equal or different, such as the id of a category.
        present: bool[N], which records have the field.
    """

    kind: Kind
    values: np.ndarray
    codes: np.ndarray
    present: np.ndarray

    @property
    def has_features(self) -> bool:
        """Whether a baseline can make anything of the field."""
        return bool(self.present.any()) and (self.kind == "text" or self.values.size + self.codes.size > 0)


@dataclasses.dataclass(frozen=True)
class Records:
    """N records of a split, as baselines read them.

    Attributes:
        columns: {field: column}.
        given: {field: object[N]}, the values that the records were given, in the form of labels; None if absent.
    """

    columns: Mapping[str, Column]
    given: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.given.values()), ()))

    def none(self) -> Records:
        """No record, with the same fields: stands for a split that is empty."""
        parts = ("values", "codes", "present")
        columns = {
            name: dataclasses.replace(column, **{part: getattr(column, part)[:0] for part in parts})
            for name, column in self.columns.items()
        }
        return Records(columns, {name: values[:0] for name, values in self.given.items()})


def read_records(
    examples_path: str, split: str, specs: Mapping[str, Spec], inputs: Collection[str], targets: Collection[str]
) -> Records:
    """Read a split of the examples, and reduce each picture to its colours at once.

    Args:
        examples_path: output of `mmstream preprocess`.
        split: "train", "validation" or "test"; of "train", at most `MOST_RECORDS` are read.
        specs: the specs of all fields.
        inputs: the fields that baselines may read.
        targets: the fields that they predict, and other fields whose given values are needed.
    """
    data = examples.read_examples(examples.shards_of(examples_path, split))
    data = data.take(MOST_RECORDS) if split == "train" else data
    read = {name: specs[name] for name in sorted(inputs)}
    columns: dict[str, list[Column]] = {name: [] for name in read}
    given: dict[str, list[np.ndarray]] = {name: [] for name in sorted({*inputs, *targets})}
    for serialised in data.batch(_BATCH):
        for name, values in examples.given(serialised, list(given)).items():
            given[name].append(values)
        texts = examples.told(serialised, [f"_text/{name}" for name in read])
        for (name, tensors), text in zip(examples.parse(serialised, read).items(), texts, strict=True):
            arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
            columns[name].append(_column(arrays, np.array(text, object)))
    return Records(
        {name: _joined(parts) for name, parts in columns.items() if parts},
        {name: np.concatenate(parts) if parts else np.array([], object) for name, parts in given.items()},
    )


def _column(tensors: Mapping[str, np.ndarray], texts: np.ndarray) -> Column:
    """What baselines read of some values of a field, from its tensors, [N, …], and its texts, "" if it has none."""
    present = tensors[PRESENT] > 0
    values = {name: tensor for name, tensor in tensors.items() if name != PRESENT}
    none = np.zeros((len(present), 0))
    if texts.any():
        short = np.array([text[:_MOST_CHARACTERS] for text in texts], object)
        return Column("text", short, none.astype(np.int64), present)
    pictures = [tensor for tensor in values.values() if tensor.dtype == np.uint8 and tensor.ndim == 4]
    if pictures:
        features = np.concatenate([ops.convert_to_numpy(Colours()(pixels)) for pixels in pictures], 1)
        return Column("picture", features * present[:, None], none.astype(np.int64), present)
    tabular = [tensor for tensor in values.values() if tensor.ndim <= 2 and tensor[0].size <= _MOST_NUMBERS]
    flat = [tensor.reshape(len(present), -1) for tensor in tabular]
    codes = [tensor for tensor in flat if tensor.dtype == np.int64]
    numbers = [tensor.astype(np.float32) for tensor in flat if tensor.dtype != np.int64]
    return Column(
        "table",
        np.concatenate(numbers, 1) if numbers else none.astype(np.float32),
        np.concatenate(codes, 1) if codes else none.astype(np.int64),
        present,
    )


def _joined(parts: Sequence[Column]) -> Column:
    """Join the parts of a column. A part in which every text is empty does not know that the field is text."""
    kinds = {part.kind for part in parts}
    if "text" in kinds:
        texts = [part.values if part.kind == "text" else np.full(len(part.present), "", object) for part in parts]
        codes = np.zeros((sum(len(part.present) for part in parts), 0), np.int64)
        return Column("text", np.concatenate(texts), codes, np.concatenate([part.present for part in parts]))
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("values", "codes", "present")}
    return Column(parts[0].kind, **joined)


class Features:
    """Turns values of a column into features, sparse float[N, F]; those of an absent value are 0.

    Args:
        column: the column of the training split, to which the features are fitted.
    """

    def __init__(self, column: Column) -> None:
        self._column = column
        self._fitted: list[Any] = []
        if column.kind == "text":
            words, most = WordCodes(), max(_MOST_CHARACTERS_IN_ALL // max(len(column.values), 1), _FEWEST_CHARACTERS)
            codes = (words, lambda text: character_codes(text[:most]))  # the latter serve scripts without spaces, too
            self._fitted = [Tfidf(each) for each in codes]
            self._of_training = sparse.csr_array(
                sparse.hstack([each.fit_transform(column.values) for each in self._fitted])
            )
            words.is_open = False
        elif column.kind == "table":
            encoders = (StandardScaler(), OneHotEncoder(handle_unknown="ignore"))
            parts = zip(encoders, _table(column), strict=True)
            self._fitted = [each.fit(values[column.present]) for each, values in parts]

    def __call__(self, column: Column) -> sparse.csr_array:
        """The features of a column of any split; of one without records, there is nothing to look at: [0, 1]."""
        if not len(column.present):
            return sparse.csr_array((0, 1))
        if column.kind == "text" and column is self._column:
            return self._of_training
        if self._column.kind == "picture":
            return sparse.csr_array(column.values)
        if self._column.kind == "text":
            has_text = column.kind == "text"
            texts = column.values if has_text else np.full(len(column.present), "", object)
            return sparse.csr_array(sparse.hstack([each.transform(texts) for each in self._fitted]))
        values = zip(self._fitted, _table(column), strict=True)
        blocks = [sparse.csr_array(each.transform(part)) for each, part in values]
        return sparse.csr_array(sparse.hstack(blocks).multiply(column.present[:, None]))


def _table(column: Column) -> tuple[np.ndarray, np.ndarray]:
    """The numbers and the codes of a tabular column, each with a constant, so that neither is empty."""
    ones = np.ones((len(column.present), 1))
    return np.concatenate([ones, np.nan_to_num(column.values)], 1), np.concatenate([ones, column.codes], 1)
