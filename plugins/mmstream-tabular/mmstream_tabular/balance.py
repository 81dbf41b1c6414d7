"""Losses and metrics for classes of which some are much rarer than others."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

FOCUS = 2.0
"""γ of the focal loss."""


def inverse_frequencies(counts: np.ndarray) -> np.ndarray:
    """Weights in inverse proportion to the frequencies of classes, such that the mean over all examples is 1.

    Source: the weighting by inverse class frequency that Cui et al., "Class-balanced loss based on effective number of
    samples" (2019), start from.

    Args:
        counts: float[V], the number of training examples of each class; those below 1 count as 1.

    Returns:
        float32[V]: Σ counts / (V · counts).

    >>> inverse_frequencies(np.array([6.0, 2.0]))
    array([0.6666667, 2.       ], dtype=float32)
    """
    known = np.maximum(counts, 1.0)
    return (known.sum() / (len(known) * known)).astype(np.float32)


def log_priors(counts: np.ndarray) -> np.ndarray:
    """The logarithms of the shares of classes, which logit adjustment adds to the logits in training, with τ = 1.

    Source: the loss of Menon et al., "Long-tail learning via logit adjustment" (2021), equation 10.

    Args:
        counts: float[V], as for `inverse_frequencies`.

    Returns:
        float32[V].
    """
    known = np.maximum(counts, 1.0)
    return np.log(known / known.sum()).astype(np.float32)


def focal_factor(logits: Any, classes: Any) -> Any:
    """The factor (1 - p)^γ by which the focal loss weighs an example whose class has the probability p.

    Source: Lin et al., "Focal loss for dense object detection" (2017), without its weights α.

    Args:
        logits: float32[B, V].
        classes: int[B].

    Returns:
        float32[B].
    """
    likely = ops.take_along_axis(ops.softmax(logits), ops.expand_dims(classes, -1), axis=-1)[:, 0]
    return ops.power(1.0 - ops.minimum(likely, 1.0), FOCUS)


def recalls(targets: np.ndarray, predictions: np.ndarray, fitted: int) -> dict[str, float]:
    """Balanced accuracy and the recall of the rarest third of the classes.

    Args:
        targets: bool[N, C], the fitted classes first, the most frequent of the training split before all others.
        predictions: bool[N, C].
        fitted: V, the number of fitted classes.

    Returns:
        "balanced_accuracy": the mean recall of all classes that are targets; "rare_recall": that of the last V/3 fitted
        classes (rounded down, but at least one) that are targets; without those that are undefined.
    """
    counts, right = targets.sum(0), (targets & predictions).sum(0)
    occurs = counts > 0
    groups = {"balanced_accuracy": occurs, "rare_recall": occurs & rarest(len(counts), fitted)}
    return {name: float((right[which] / counts[which]).mean()) for name, which in groups.items() if which.any()}


def rarest(count: int, fitted: int) -> np.ndarray:
    """bool[C]: which of C classes are in the last third of the V fitted ones; see `recalls`."""
    places = np.arange(count)
    rare: np.ndarray = (places >= fitted - max(fitted // 3, 1)) & (places < fitted)
    return rare
