"""What a plugin implements. Light: importing this module imports neither Keras, TensorFlow nor Beam.

Letters used in every docstring: B batch, T tokens, D the shared width (`model.width`), L text length,
V fitted values of a vocabulary.

Constructors: what stands before the `*` is handed over by mmstream (the width, sizes that follow from the fitted
data); what stands after it is named in the config file and checked against its annotation:

    class Gru(keras.layers.Layer):
        def __init__(self, width: int, vocabulary_size: int, *, units: int = 128, **kwargs): ...
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypedDict

import numpy as np

if TYPE_CHECKING:
    from mmstream.streams import Stream

RESERVED_IDS = 4
"""Ids 0 to 3 of every vocabulary: padding, unknown, start, end. The fitted values follow."""
PADDING, UNKNOWN, START, END = range(RESERVED_IDS)

LabelType = Literal["string", "number", "strings", "numbers"]


class TensorSpec(NamedTuple):
    """Static shape of one record's tensor (without B) and its dtype: "float32", "int64" or "uint8"."""

    shape: tuple[int, ...]
    dtype: str


Spec = Mapping[str, TensorSpec]


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What the full pass over the training split learnt of one field.

    Attributes:
        vocabulary: its V values, most frequent first; value v has id `RESERVED_IDS + v`.
        statistics: numbers by name, one or more each, as `Field.statistics` declares them.
    """

    vocabulary: tuple[str, ...] = ()
    statistics: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)


class Row(NamedTuple):
    """What a source reads: a row, or the error that makes it a dead letter.

    Attributes:
        origin: where it stands, relative to the input: "manifest.jsonl:12" or a path.
        columns: the values by column, None where the row could not be read.
        raw: what was found instead of a row, kept in the dead letter.
        error: why it could not be read.
    """

    origin: str
    columns: Mapping[str, Any] | None
    raw: Any = None
    error: Exception | None = None


class Split(NamedTuple):
    """A piece of a source that one worker reads; it can be pickled.

    Attributes:
        path: the file or folder.
        rows: how many rows it holds.
        origin: what the origins of its rows begin with: the path below the input.
        first: number of its first row (or line) in the file, from 1.
        start: where it begins, in a unit of the source's own: a byte, a row group.
        end: one past where it ends.
    """

    path: str
    rows: int
    origin: str = ""
    first: int = 1
    start: int = 0
    end: int = 0


class Source(abc.ABC):
    """Reads records. Constructor parameters after `*` come from `source:` in the config."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    """Endings of the files it reads, in lower case, as ".jsonl"; a folder's files are told by them."""
    files_are_records: ClassVar[bool] = False
    """Whether each file is a record, as in a folder of pictures; else a file holds many. One file of an input is then
    read as `Split(path, 1, origin)`."""
    scheme: ClassVar[str] = ""
    """Of the URIs that it reads, where these are no files, as "kafka"."""

    @abc.abstractmethod
    def splits(self, path: str) -> Sequence[Split]:
        """The pieces of the input, in a fixed order.

        What takes long calls `mmstream.alive.progress` now and then: after `--stall-timeout` without a sign of life the
        command is ended, as the source hangs.

        Args:
            path: a file, a folder, or a pattern as "shards/*.tar"; see `mmstream.files`.

        Raises:
            MmstreamError: the path is not there or is not of this kind.
        """

    @abc.abstractmethod
    def read(self, split: Split) -> Iterator[Row]:
        """The rows of one piece. A bad row is yielded with its error; it never ends the reading.

        What takes long before a row is yielded calls `mmstream.alive.progress`, as in `splits`.
        """

    def streams(self, path: str) -> Sequence[str]:
        """The pieces of an input that has no end, by names that stay; none of files, which mmstream watches itself.

        Raises:
            MmstreamError: the input is not there, or cannot be reached.
        """
        return ()

    def stream(self, path: str, name: str, position: int | None) -> Stream:
        """A piece of an input that has no end, to be read from a position on; from its start where that is None.

        Raises:
            MmstreamError: the input is not there, or cannot be reached.
        """
        raise TypeError(f"{type(self).__name__} has no streams")


class Sink(abc.ABC):
    """Turns label rows into the bytes of one file and back; mmstream writes, checksums and commits them."""

    suffix: ClassVar[str]

    @abc.abstractmethod
    def dumps(self, rows: Sequence[Mapping[str, Any]], schema: Mapping[str, LabelType]) -> bytes:
        """The file. Equal rows give equal bytes; no rows give a valid, empty file."""

    @abc.abstractmethod
    def loads(self, data: bytes, schema: Mapping[str, LabelType]) -> list[dict[str, Any]]:
        """The rows of a file that `dumps` made; one of another schema may hold other columns, which are texts then."""


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """How a field would read the values of a column, for `mmstream init`.

    Attributes:
        fit: 0 to 1; of several fields the one that fits best is taken.
        parameters: that a config would give it.
        why: what in the values speaks for it, as "12 different texts in 500 rows".
    """

    fit: float
    parameters: Mapping[str, Any]
    why: str


class Field(abc.ABC):
    """Turns values into tensors. Imports no TensorFlow at the top of its module.

    A field reads one column; one whose constructor has a parameter `columns` may read several, and `decode` then gets
    the list of their values, None where there is none.

    A media field (`media = True`) decodes the bytes of a file, per record, in Python. Any other field is cheap: its
    `decode` gives lists, which tensorflow-transform analyses in a full pass and `graph` turns into tensors.
    """

    media: ClassVar[bool] = False
    """Whether the column names a file; mmstream opens it and `decode` gets its bytes."""
    encoded_by: ClassVar[str] = ""
    """Name of the encoder that usually reads such a field, "" for none; `mmstream init` writes it."""
    predicted_by: ClassVar[str] = ""
    """Name of the head that usually predicts such a field, "" for none; `mmstream init` writes it."""
    statistics: ClassVar[tuple[str, ...]] = ()
    """Outputs of `graph` that are no tensors of a record but numbers of the full pass, float32[B, any], equal in each
    row; they are found in `Fitted.statistics`."""
    served: Literal["", "string", "float32"] = ""
    """Dtype of the raw values that `serve` reads; "" where a graph cannot read them, so that an exported model takes
    the field's tensors."""
    training_only: ClassVar[tuple[str, ...]] = ()
    """Parameters that `augment` alone reads: examples stay as good when one of them changes."""
    max_bytes: int = 64 * 1024 * 1024
    """The largest media file that is read; a media field's constructor may set it."""

    @classmethod
    def suggest(cls, values: Sequence[Any]) -> Suggestion | None:
        """How this field would read a column, None where it would not.

        Args:
            values: a sample of the column without None; of files their bytes, of which there are few.
        """
        return None

    @abc.abstractmethod
    def decode(self, value: Any) -> dict[str, Any] | None:
        """One value, checked. Never called with None.

        Returns:
            media: {tensor: numpy array as `spec` says}; cheap: {raw column: list}; None where the value is absent
            after all (an empty text).

        Raises:
            ValueError, TypeError, OSError: the value is bad; the record becomes a dead letter.
        """

    @abc.abstractmethod
    def spec(self, fitted: Fitted) -> Spec:
        """Static shape and dtype of each tensor. mmstream adds `present: float32[]` itself."""

    def raw(self) -> dict[str, Literal["string", "float32", "int64"]]:
        """Raw columns that `decode` of a cheap field gives, with their dtype; each value is a list."""
        return {}

    def graph(self, raw: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Cheap fields: tensorflow-transform code.

        Args:
            raw: {raw column: tf.SparseTensor [B, any]}, a row without values being an absent one.
            name: the field's name. A vocabulary is called so: `vocab_filename=name`.

        Returns:
            {tensor: dense, padded, [B, *spec shape]}, zeros where absent; and {statistic: float32[B, any]}.
        """
        raise TypeError(f"{type(self).__name__} has no graph")

    def text(self, decoded: Mapping[str, Any]) -> str | None:
        """The normalised text of what `decode` gave, for fields that are text; kept in the examples."""
        return None

    def augment(self, tensors: dict[str, Any], seed: Any) -> dict[str, Any]:
        """Training only, inside tf.data, one record: TensorFlow code from tensors to tensors of the same spec.

        Args:
            tensors: {tensor: tf.Tensor of the spec's shape}.
            seed: int32[2] for the stateless random operations of TensorFlow.
        """
        return tensors

    def serve(self, values: Any) -> dict[str, Any]:
        """In an exported model: TensorFlow code that does what `decode` does.

        In the graph, a value that `decode` refuses, or that the graph could not read as it does, is an error
        (tf.errors.InvalidArgumentError).

        Args:
            values: tf.Tensor [B] of dtype `served`, or [B, N] where the field reads N columns. Absent ones are empty
                texts or NaN; a media field gets none of them.

        Returns:
            media: {tensor: [B, *spec shape]}; cheap: {raw column: tf.RaggedTensor [B, any]}.
        """
        raise TypeError(f"{type(self).__name__} is not served")


class Reading(TypedDict):
    """What a fusion and a head read: one field, or (heads only) a fusion of several.

    Attributes:
        tokens: float[B, T, D].
        mask: float[B, T], 1 where there is a token.
        vector: float[B, D]: the field's place in the shared space, or the fused vector.
        present: float32[B], 1 where the reading holds anything.
    """

    tokens: Any
    mask: Any
    vector: Any
    present: Any


@dataclasses.dataclass(frozen=True)
class Classes:
    """What a head gave that chooses among V classes, over the N rows whose target is known.

    Attributes:
        rows: int[N], the rows' numbers in the batch.
        names: of the classes.
        wanted: bool[N, V].
        found: bool[N, V], what the labels say.
        scores: float[N, V], probabilities.
        exclusive: a row has just one class.
    """

    rows: np.ndarray
    names: Sequence[str]
    wanted: np.ndarray
    found: np.ndarray
    scores: np.ndarray
    exclusive: bool


@dataclasses.dataclass(frozen=True)
class Texts:
    """What a head gave that writes texts, over the N rows whose target is known.

    Attributes:
        rows: int[N], the rows' numbers in the batch.
        wanted: N texts.
        found: N texts.
        quality: float[N], how near each is to what was wanted, 0 to 1.
        tokens: of each text that was found.
    """

    rows: np.ndarray
    wanted: Sequence[str]
    found: Sequence[str]
    quality: np.ndarray
    tokens: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Numbers:
    """What a head gave that predicts K numbers, over the N rows of which all are known.

    Attributes:
        rows: int[N], the rows' numbers in the batch.
        wanted: float[N, K].
        found: float[N, K].
    """

    rows: np.ndarray
    wanted: np.ndarray
    found: np.ndarray


Outcome = Classes | Texts | Numbers
"""What a head gave beside what was wanted, for the report."""


class Encoder(Protocol):
    """A Keras layer: one field's tensors → tokens. `__init__(width, <sizes>, *, <parameters>, **kwargs)`."""

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """Plain integers for the constructor that follow from the data; they go into `get_config`."""

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{tensor: [B, …]} → {"tokens": float[B, T, D], "mask": float[B, T]}."""


class Fusion(Protocol):
    """A Keras layer: several fields → one vector. `__init__(width, *, <parameters>, **kwargs)`."""

    def call(self, readings: Mapping[str, Reading], training: bool | None = None) -> Any:
        """{field: {"tokens", "mask", "vector", "present"}} → float[B, D].

        The vector of every present field must count: often nothing else trains the field's place in the shared space,
        which is given as its embedding. What an absent field holds must not matter.
        """


class Head(Protocol):
    """A Keras layer: a reading → predictions of one target field. `__init__(<sizes>, *, <parameters>, **kwargs)`."""

    forced: ClassVar[bool]
    """Whether it sees its target in training (teacher forcing)."""
    label_type: ClassVar[LabelType]
    """Type of the label in the output rows."""
    score_type: ClassVar[LabelType]
    """Type of the score: "number", or "numbers" for one score a label."""
    metric: ClassVar[str]
    """The metric that counts most; more is better."""
    progress_metric: ClassVar[str]
    """What `progress` measures."""

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """Plain integers for the constructor that follow from the target field."""

    def call(self, reading: Reading, target: Any = None, training: bool | None = None) -> dict[str, Any]:
        """Reading → {"logits": float32[B, …], …}, float32 by any name; a forced head is given its target, too.

        A forced head names its logits so.
        """

    def generate(self, reading: Reading) -> dict[str, Any]:
        """Forced heads only: reading → {"ids": int32[B, L], "score": float32[B]}, without seeing a target."""

    def candidates(self, reading: Reading, count: int) -> dict[str, Any]:
        """Forced heads only, and optional: what `match` chooses from, the likeliest first.

        Returns:
            {"ids": int32[B, count, L], "score": float32[B, count]}.
        """

    def draw(self, reading: Reading, seed: Any = None) -> Any:
        """Forced heads only, and optional: what objectives that read `drawn.<head>` are given.

        Args:
            reading: that the text is about.
            seed: a `keras.random.SeedGenerator`; None for the likeliest text.

        Returns:
            float32[B, L, R], one-hot over all R ids, through which gradients pass.
        """

    def known(self, target: Mapping[str, Any]) -> Any:
        """float32[B]: 1 where the target is known, 0 where it is missing."""

    def loss(self, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> Any:
        """float32[B]: each example's loss; finite where the target is unknown."""

    def progress(self, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> Any:
        """float32[B]: a cheap figure of each example for the progress line; finite where the target is unknown."""

    def calibrate(self, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, Any]:
        """What `decode` needs beyond the predictions, fitted on the validation split: numpy in, JSON out."""

    def decode(
        self, predictions: Mapping[str, Any], fitted: Fitted, calibration: Mapping[str, Any]
    ) -> list[tuple[Any, Any]]:
        """Predictions as numpy [B, …] → B pairs (label, score).

        A head may also have `serve`, of the same arguments, for exported models: TensorFlow code from predictions as
        tf.Tensor to (labels, scores), of shape [B], or [B, any] padded with "" and 0. Without it, an exported model
        gives its predictions alone.
        """

    def evaluate(
        self,
        predictions: Mapping[str, Any],
        target: Mapping[str, Any],
        fitted: Fitted,
        calibration: Mapping[str, Any],
    ) -> dict[str, float]:
        """Metrics over the rows whose target is known: numpy in. `target["text"]` is there for text fields."""

    def outcome(
        self,
        predictions: Mapping[str, Any],
        target: Mapping[str, Any],
        fitted: Fitted,
        calibration: Mapping[str, Any],
    ) -> Outcome:
        """What was wanted and what was given, row by row, for the report: numpy in."""


class Objective(Protocol):
    """A Keras layer: a loss between named tensors. `__init__(*, <parameters>, **kwargs)`.

    One that has figures for the progress line names them in `progress_metrics: ClassVar[tuple[str, ...]]`, and gives
    them in `progress(tensors) → {figure: float32 scalar}`.

    One that `model.impute` may name has a layer `generator`, {field: float[B, D]}, {field: float32[B]} (which are
    present) → {field: float[B, D]}, each made from the others; its `fields` say of which it makes them.
    """

    def needs(self) -> list[str]:
        """Names of the tensors it reads.

        `embeddings.<field>` float[B, D], `present.<field>` float32[B], `fields.<field>.<tensor>`,
        `targets.<field>.<tensor>`, `heads.<head>.logits`, `fused` float[B, D],
        `drawn.<head>` float32[B, L, R], see `Head.draw`.
        """

    def build(self, tensors_shape: Mapping[str, tuple[int | None, ...]]) -> None:
        """Make its weights for tensors of these shapes, by name."""

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> Any:
        """{name: tensor} → float32 scalar; mmstream multiplies it by the objective's weight."""
