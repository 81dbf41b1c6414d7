"""The interface of fields, which turn values into tensors."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from mmstream.interfaces.similarity import SimilarityHash
from mmstream.interfaces.suggestion import Suggestion
from mmstream.interfaces.tensors import Fitted, Spec


class Field(abc.ABC):
    """Turns values into tensors. Its module does not import TensorFlow at the top.

    A field reads one column. If its constructor has a parameter `columns`, it may read several; `decode` then gets the
    list of their values, with None for missing ones.

    A media field (`media = True`) decodes the bytes of a file for each record, in Python. Any other field is cheap: its
    `decode` gives lists, which tensorflow-transform analyses in a full pass and `graph` turns into tensors.
    """

    media: ClassVar[bool] = False
    """Whether the column names a file; mmstream then reads the file, and `decode` gets its bytes."""
    encoded_by: ClassVar[str] = ""
    """The name of the encoder that usually reads such a field, "" for none; `mmstream init` writes it."""
    predicted_by: ClassVar[str] = ""
    """The name of the head that usually predicts such a field, "" for none; `mmstream init` writes it."""
    statistics: tuple[str, ...] = ()
    """Outputs of `graph` that are not tensors of a record but numbers from the full pass, float32[B, any], equal in
    each row; `Fitted.statistics` holds them."""
    descriptive: ClassVar[tuple[str, ...]] = ()
    """Those of the statistics that only describe the data: examples stay valid if one of them is added or changes."""
    served: Literal["", "string", "float32"] = ""
    """The dtype of the raw values that `serve` reads; "" if a graph cannot read them, in which case an exported model
    takes the field's tensors."""
    training_only: ClassVar[tuple[str, ...]] = ()
    """Parameters that only `augment` reads: examples stay valid when one of them changes."""
    similarity: ClassVar[SimilarityHash | None] = None
    """Makes the hashes by which near-equal values are found in different splits; None if values are not compared."""
    parameters_before: ClassVar[Mapping[str, Any]] = {}
    """Parameters that came with format 5 of models, with the values that older models and examples imply, if these are
    not the defaults."""
    max_bytes: int = 64 * 1024 * 1024
    """The size of the largest media file that is read; a media field's constructor may set it."""

    @classmethod
    def suggest(cls, values: Sequence[Any]) -> Suggestion | None:
        """Suggest how this field would read a column; None if it would not.

        Args:
            values: a sample of the column, without None; for files, the bytes of a few.
        """
        return None

    @classmethod
    def why_not(cls, values: Sequence[Any]) -> str:
        """Say what keeps this field from reading a column that looks suitable, and what to do; "" if nothing does.

        Args:
            values: a sample as `suggest` gets it, of a column for which it has returned None.
        """
        return ""

    def assets(self) -> dict[str, bytes]:
        """Return files that `decode` needs besides the parameters, by name; examples and models keep them."""
        return {}

    def open_assets(self, assets: Mapping[str, bytes]) -> None:
        """Take these files from examples or a model; called before `decode` if `assets` gave any."""
        raise TypeError(f"{type(self).__name__} needs no files")

    @abc.abstractmethod
    def decode(self, value: Any) -> dict[str, Any] | None:
        """Check and decode one value. Never called with None.

        Returns:
            media: {tensor: numpy array as `spec` says}; cheap: {raw column: list}; None if the value is absent after
            all (an empty text).

        Raises:
            ValueError, TypeError, OSError: the value is bad; the record becomes a dead letter.
        """

    @abc.abstractmethod
    def spec(self, fitted: Fitted) -> Spec:
        """Return the static shape and dtype of each tensor. mmstream itself adds `present: float32[]`."""

    def raw(self) -> dict[str, Literal["string", "float32", "int64"]]:
        """Return the raw columns that `decode` of a cheap field gives, with their dtypes; each value is a list."""
        return {}

    def graph(self, raw: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Cheap fields only: turn raw columns into tensors, in tensorflow-transform code.

        Args:
            raw: {raw column: tf.SparseTensor [B, any]}; a row without values is absent.
            name: the field's name, which a vocabulary must have: `vocab_filename=name`.

        Returns:
            {tensor: dense, padded, [B, *spec shape]}, with zeros where absent; and {statistic: float32[B, any]}.
        """
        raise TypeError(f"{type(self).__name__} has no graph")

    def text(self, decoded: Mapping[str, Any]) -> str | None:
        """Return the normalised text of the decoded value, for fields that are text; it is kept in the examples."""
        return None

    def given(self, decoded: Mapping[str, Any]) -> Any:
        """Return the decoded value in the form that a correct label has: the value itself, even if unseen in training.

        It is kept in the examples, and the figures of heads that predict the field are computed from it.

        Returns:
            a text, a list of texts, a number, or a list of numbers with None for those that are missing; None for a
            field that no head predicts.
        """
        return self.text(decoded)

    def looked_up(self, decoded: Mapping[str, Any]) -> Sequence[Sequence[str]]:
        """Return those texts of the decoded value that are looked up in the vocabulary; () if the field has none.

        Returns:
            one sequence of texts for each column that the field reads, or one for all columns; with several sequences,
            each text begins with the column's name, such as "colour=red".
        """
        return ()

    def truncated(self, fitted: Fitted) -> tuple[float, float] | None:
        """Return how much of the training split does not fit into the field's tensors; None if that is not known.

        Returns:
            the share of the values that are too long, and the share of all their elements that are cut off.
        """
        return None

    def count_linear_features(self, fitted: Fitted) -> int:
        """Return F, how many features `linear_features` has; 0 if the field has none."""
        return 0

    def linear_features(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Return what linear models read of the field (`model.wide`): some of its tensors, or what keras.ops computes.

        Args:
            tensors: those of a batch, {tensor: [B, *spec shape]}.

        Returns:
            {"ids": int[B] or int[B, M], numbers from 1 to F, and 0 for none}, with "weights": float[B, M] if these are
            not all 1; or {"dense": number[B, F]}.
        """
        raise TypeError(f"{type(self).__name__} has no features for linear models")

    @property
    def augments(self) -> bool:
        """Whether `augment` changes anything; by default, if the class has an `augment` of its own."""
        return type(self).augment is not Field.augment

    def augment(self, tensors: dict[str, Any], seed: Any) -> dict[str, Any]:
        """Augment one record, in training only, in tf.data: TensorFlow code from tensors to tensors of the same spec.

        Args:
            tensors: {tensor: tf.Tensor of the spec's shape}.
            seed: int32[2] for the stateless random operations of TensorFlow.
        """
        return tensors

    def serve(self, values: Any) -> dict[str, Any]:
        """Do the same as `decode`, but in TensorFlow code, for an exported model.

        In the graph, a value is an error (tf.errors.InvalidArgumentError) if `decode` refuses it, or if the graph
        cannot read it as `decode` does.

        Args:
            values: tf.Tensor [B] of dtype `served`, or [B, N] if the field reads N columns. Absent values are empty
                texts or NaN; a media field gets no absent values.

        Returns:
            media: {tensor: [B, *spec shape]}; cheap: {raw column: tf.RaggedTensor [B, any]}.
        """
        raise TypeError(f"{type(self).__name__} is not served")
