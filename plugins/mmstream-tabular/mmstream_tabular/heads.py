"""Heads that predict categories and tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import annotated_types
import keras
import numpy as np
from keras import ops
from sklearn import metrics

from mmstream.interfaces import RESERVED_IDS, Classes, Fitted, LabelType, Outcome, Reading, Spec
from mmstream.models.configured import ConfiguredLayer
from mmstream_tabular.balance import focal_factor, inverse_frequencies, log_priors, recalls
from mmstream_tabular.tag_metrics import tag_metrics

Share = Annotated[float, annotated_types.Interval(ge=0, lt=1)]
FEWEST_POSITIVES = 5
"""A tag with fewer examples in the validation split takes the threshold that all tags share."""


class _LogitsHead(ConfiguredLayer):
    """One affine map from the vector of a reading to logits, float32[B, outputs]."""

    autoregressive: ClassVar[bool] = False
    counted: ClassVar[frozenset[str]]
    """The values of `balance` for which the loss depends on the frequencies of the classes."""

    def __init__(self, outputs: int, bias: float, dropout: float, balance: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not outputs:
            raise ValueError("the target field has no value in the training split")
        self.dropout = dropout
        self.balance = balance
        self._class_counts: np.ndarray | None = None
        self.drop = keras.layers.Dropout(dropout, name="dropout", dtype=self.dtype_policy)
        initial = keras.initializers.Constant(bias)
        self.logits = keras.layers.Dense(outputs, bias_initializer=initial, name="logits", dtype="float32")

    def build(self, reading_shape: Mapping[str, Any], target_shape: Any = None) -> None:
        """Build for a vector [B, D]."""
        self.logits.build(reading_shape["vector"])

    def call(self, reading: Reading, target: Any = None, training: bool | None = None) -> dict[str, Any]:
        """A reading → {"logits": float32[B, outputs]}."""
        return {"logits": self.logits(self.drop(reading["vector"], training=training))}

    @classmethod
    def needs_class_counts(cls, parameters: Mapping[str, Any]) -> bool:
        """Whether `balance` weighs classes by their frequencies."""
        return parameters.get("balance") in cls.counted

    def set_class_counts(self, counts: np.ndarray) -> None:
        """Take the counts that `balance` needs, float[outputs]."""
        self._class_counts = np.asarray(counts, np.float64)

    @property
    def class_counts(self) -> np.ndarray:
        """float64[outputs].

        Raises:
            ValueError: `set_class_counts` was not called.
        """
        if self._class_counts is None:
            raise ValueError(f"balance: {self.balance} needs the frequencies of the classes, from set_class_counts")
        return self._class_counts


@keras.saving.register_keras_serializable(package="mmstream_tabular")
class Classification(_LogitsHead):
    """Predicts a `category`: softmax over its V values, cross-entropy. The score is the probability.

    Args:
        classes: V.
        dropout: share of the vector that is dropped in training.
        label_smoothing: share of the target's probability that is spread evenly over all classes.
        balance: makes up for classes that are rare in the training split. "class_weights" weighs the loss of each
            record in inverse proportion to the frequency of its class (Cui et al., 2019); "focal" weighs records less
            the better they are classified already (Lin et al., 2017, with γ = 2), whatever the frequencies;
            "logit_adjustment" adds the logarithms of the frequencies to the logits in training only (Menon et al.,
            2021).
    """

    label_type: ClassVar[LabelType] = "string"
    score_type: ClassVar[LabelType] = "number"
    metric: ClassVar[str] = "accuracy"
    progress_metric: ClassVar[str] = "accuracy"
    counted: ClassVar[frozenset[str]] = frozenset({"class_weights", "logit_adjustment"})

    def __init__(
        self,
        classes: int,
        *,
        dropout: Share = 0.3,
        label_smoothing: Share = 0.0,
        balance: Literal["class_weights", "focal", "logit_adjustment"] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(classes, 0.0, dropout, balance, **kwargs)
        self.classes = classes
        self.label_smoothing = label_smoothing

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """As many classes as the field has values."""
        if spec["id"].shape:
            raise ValueError("it predicts one category; the field reads several columns")
        return {"classes": len(fitted.vocabulary)}

    def target_mask(self, target: Mapping[str, Any]) -> Any:
        """float32[B]: 0 where the category is absent or unknown."""
        return ops.cast(target["id"] >= RESERVED_IDS, "float32")

    def loss(self, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> Any:
        """float32[B]: cross-entropy, balanced as `balance` says."""
        classes, logits = ops.maximum(target["id"] - RESERVED_IDS, 0), predictions["logits"]
        hot = ops.one_hot(classes, self.classes, dtype="float32")
        hot = hot * (1 - self.label_smoothing) + self.label_smoothing / self.classes
        if self.balance == "logit_adjustment":
            logits = logits + log_priors(self.class_counts)
        each = ops.categorical_crossentropy(hot, logits, from_logits=True)
        if self.balance == "class_weights":
            each = each * ops.take(inverse_frequencies(self.class_counts), classes)
        return each * focal_factor(logits, classes) if self.balance == "focal" else each

    def progress(self, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> Any:
        """float32[B]: 1 where the likeliest class is the right one."""
        best = ops.cast(ops.argmax(predictions["logits"], axis=-1), "int64")
        return ops.cast(best == ops.cast(target["id"], "int64") - RESERVED_IDS, "float32")

    def calibrate(self, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, Any]:
        """{}: decoding needs no calibration."""
        return {}

    def decode(
        self, predictions: Mapping[str, Any], fitted: Fitted, calibration: Mapping[str, Any]
    ) -> list[tuple[Any, Any]]:
        """The likeliest class and its probability."""
        probabilities = self.probabilities(predictions)
        best = probabilities.argmax(1)
        return [(fitted.vocabulary[n], float(row[n])) for n, row in zip(best, probabilities, strict=True)]

    def serve(self, predictions: Mapping[str, Any], fitted: Fitted, calibration: Mapping[str, Any]) -> tuple[Any, Any]:
        """As `decode`: string[B] and float32[B]."""
        import tensorflow as tf

        probabilities = tf.nn.softmax(tf.cast(predictions["logits"], tf.float64))
        best = tf.argmax(probabilities, axis=1)
        return tf.gather(list(fitted.vocabulary), best), tf.cast(tf.reduce_max(probabilities, axis=1), tf.float32)

    def probabilities(self, predictions: Mapping[str, Any]) -> np.ndarray:
        """float64[B, V]."""
        return _softmax(predictions["logits"])

    def evaluate(self, outcome: Outcome) -> dict[str, float]:
        """Accuracy; F1 averaged over the classes that occur as target or label; balanced accuracy, the mean recall of
        the classes that occur as target; and `rare_recall`, the mean recall of those among them that are in the rarest
        third of the vocabulary (none may be); {} without rows.
        """
        if not isinstance(outcome, Classes) or not len(outcome.rows):
            return {}
        targets, predictions = outcome.targets.argmax(1), outcome.predictions.argmax(1)
        return {
            "accuracy": metrics.accuracy_score(targets, predictions),
            "macro_f1": metrics.f1_score(targets, predictions, average="macro", zero_division=0),
            **recalls(outcome.targets, outcome.predictions, outcome.fitted),
        }


@keras.saving.register_keras_serializable(package="mmstream_tabular")
class Tagging(_LogitsHead):
    """Predicts `tags`: a sigmoid for each of V tags, binary cross-entropy.

    The loss is divided by the number of true tags, so that it is comparable to other heads' losses whatever V is.

    Source: the normalisation of Lin et al., "Focal loss for dense object detection" (2017).

    A tag is predicted if its probability reaches its threshold, the one with the best F1 on the validation split: the
    tag's own or, for a rare tag, one that is shared by all tags.

    Args:
        tags: V.
        dropout: share of the vector that is dropped in training.
        balance: "positive_weights" weighs the loss of each tag that a record has in inverse proportion to the tag's
            frequency in the training split, so that all tags together weigh as much as before, and each as much as
            any other.
    """

    label_type: ClassVar[LabelType] = "strings"
    score_type: ClassVar[LabelType] = "numbers"
    metric: ClassVar[str] = "map"
    progress_metric: ClassVar[str] = "precision_at_1"
    counted: ClassVar[frozenset[str]] = frozenset({"positive_weights"})

    def __init__(
        self,
        tags: int,
        *,
        dropout: Share = 0.3,
        balance: Literal["positive_weights"] | None = None,
        **kwargs: Any,
    ) -> None:
        # A record has about one tag in V: begin there rather than at one half.
        super().__init__(tags, -float(np.log(max(tags, 2))), dropout, balance, **kwargs)
        self.tags = tags

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """As many tags as the field has values."""
        return {"tags": len(fitted.vocabulary)}

    def target_mask(self, target: Mapping[str, Any]) -> Any:
        """float32[B]: 0 where the column is absent."""
        return target["present"]

    def loss(self, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> Any:
        """float32[B]: binary cross-entropy, summed over all tags and divided by the number of true tags, or 1."""
        logits, hot = predictions["logits"], ops.cast(target["hot"], "float32")
        if self.balance is None:
            each = ops.sum(ops.softplus(logits) - hot * logits, axis=-1)
        else:
            weighed = hot * inverse_frequencies(self.class_counts)
            each = ops.sum((1.0 - hot) * ops.softplus(logits) + weighed * ops.softplus(-logits), axis=-1)
        return each / ops.maximum(ops.sum(hot, axis=-1), 1.0)

    def progress(self, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> Any:
        """float32[B]: 1 where the likeliest tag is a true one."""
        best = ops.argmax(predictions["logits"], axis=-1, keepdims=True)
        return ops.take_along_axis(ops.cast(target["hot"], "float32"), best, axis=-1)[:, 0]

    def calibrate(self, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, Any]:
        """{"thresholds": V probabilities}."""
        mask = target["present"] > 0
        hot, probabilities = target["hot"][mask], _sigmoid(predictions["logits"][mask])
        shared = _best_threshold(hot.reshape(-1), probabilities.reshape(-1), 0.5)
        thresholds = [
            _best_threshold(hot[:, n], probabilities[:, n], shared) if hot[:, n].sum() >= FEWEST_POSITIVES else shared
            for n in range(self.tags)
        ]
        return {"thresholds": thresholds}

    def decode(
        self, predictions: Mapping[str, Any], fitted: Fitted, calibration: Mapping[str, Any]
    ) -> list[tuple[Any, Any]]:
        """The tags that reach their thresholds and their probabilities, the likeliest first."""
        thresholds = np.array(calibration["thresholds"])
        rows = []
        for probabilities in self.probabilities(predictions).astype(np.float32):
            order = np.argsort(-probabilities, kind="stable")
            tags = [n for n in order if probabilities[n] >= thresholds[n]]
            rows.append(([fitted.vocabulary[n] for n in tags], [float(probabilities[n]) for n in tags]))
        return rows

    def serve(self, predictions: Mapping[str, Any], fitted: Fitted, calibration: Mapping[str, Any]) -> tuple[Any, Any]:
        """As `decode`: string[B, most tags] and float32[B, most tags]."""
        import tensorflow as tf

        probabilities = tf.cast(tf.sigmoid(tf.cast(predictions["logits"], tf.float64)), tf.float32)
        order = tf.argsort(probabilities, axis=1, direction="DESCENDING", stable=True)
        scores = tf.gather(probabilities, order, batch_dims=1)
        mask = tf.cast(scores, tf.float64) >= tf.gather(tf.constant(calibration["thresholds"], tf.float64), order)
        labels = tf.ragged.boolean_mask(tf.gather(list(fitted.vocabulary), order), mask)
        return labels.to_tensor(""), tf.ragged.boolean_mask(scores, mask).to_tensor(0.0)

    def probabilities(self, predictions: Mapping[str, Any]) -> np.ndarray:
        """float64[B, V]."""
        return _sigmoid(predictions["logits"])

    def evaluate(self, outcome: Outcome) -> dict[str, float]:
        """Mean average precision over the tags of the vocabulary that are targets; mean F1 over all that are targets or
        labels; F1 over all pairs of a record and a tag; and `rare_recall`, the mean recall of those targets that are in
        the rarest third of the vocabulary; without those that are undefined.
        """
        if not isinstance(outcome, Classes):
            return {}
        once = np.ones((1, len(outcome.rows)), np.int32)
        measured = {name: float(values[0]) for name, values in tag_metrics(outcome, once).items()}
        return {name: value for name, value in measured.items() if not np.isnan(value)}

    def evaluate_resamples(self, outcome: Outcome, counts: np.ndarray) -> dict[str, np.ndarray]:
        """The same for many resamples."""
        return tag_metrics(outcome, counts) if isinstance(outcome, Classes) else {}


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))


def _best_threshold(targets: np.ndarray, probabilities: np.ndarray, default: float) -> float:
    """The threshold with the best F1, halfway to the next lower probability; the default without positive targets."""
    if not targets.any():
        return default
    precision, recall, thresholds = metrics.precision_recall_curve(targets, probabilities)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(f1[:-1].argmax())
    lower = thresholds[best - 1] if best else 0.0
    return float((thresholds[best] + lower) / 2)
