"""The weights of the losses in the total, and how they change during training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mmstream.config.schema import Config

_TEMPERATURE = 2.0
"""The temperature of the softmax of `dynamic`, as in its source."""


class LossWeights(keras.layers.Layer):
    """L = Σ α_i L_i, where the α_i are the config's weights, scheduled by its `from_epoch` and `warm_up`.

    `training.weighting` balances the heads against each other; objectives keep their α_i:

    - fixed: α_i L_i.
    - uncertainty: α_i (exp(-s_i) L_i + s_i / 2), where s_i = log σ_i² is learnt with the network. Source: Kendall
      et al., "Multi-task learning using uncertainty to weigh losses" (2018).
    - dynamic: α_i λ_i L_i, where λ_i = K softmax(r / 2)_i over the K heads, and r_i is L_i of the last epoch divided by
      that of the epoch before; λ_i is 1 in the first two epochs. Source: Liu et al., "End-to-end multi-task learning
      with attention" (2019), its dynamic weight average.

    The validation loss uses the full α_i of the config, so that epochs can be compared.

    Args:
        config: gives the heads, the objectives and `training.weighting`.
    """

    def __init__(self, config: Config, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", "name": "loss_weights", **kwargs})
        self.parts = config.losses
        self.balanced = list(config.model.heads)
        self.weighting = config.training.weighting
        self.shares: dict[str, Any] = {}
        self.log_variances: dict[str, Any] = {}

    def build(self, losses_shape: Any = None, counts_shape: Any = None) -> None:
        """Make the weights: the current share of each α_i, and the uncertainties."""
        for name in self.parts:
            self.shares[name] = self.add_weight(shape=(), initializer="ones", trainable=False, name=f"{name}_share")
        if self.weighting == "uncertainty":
            for name in self.balanced:
                self.log_variances[name] = self.add_weight(
                    shape=(), initializer="zeros", name=f"{name}_log_variance", autocast=False
                )
        self.built = True

    def call(self, losses: Mapping[str, Any], counts: Mapping[str, Any], training: bool | None = None) -> Any:
        """Compute the total, a float32 scalar.

        Args:
            losses: float32 scalars by part.
            counts: the number of examples that each head's loss is averaged over, float32.
            training: False for the total with the full α_i.
        """
        total = ops.zeros((), "float32")
        for name, loss in losses.items():
            weight = self.parts[name].weight
            if training:
                if name in self.log_variances:
                    log_variance = self.log_variances[name]
                    has_targets = ops.cast(counts[name] > 0, "float32")
                    loss = ops.exp(-log_variance) * loss + 0.5 * has_targets * log_variance
                loss = self.shares[name] * loss
            total += weight * loss
        return total

    def begin_epoch(self, epoch: int, history: Sequence[Mapping[str, float]]) -> None:
        """Set the share of each α_i for an epoch.

        Args:
            epoch: its number, counted from 1.
            history: the "<head>_loss" of each epoch before it.
        """
        balance = _dynamic_shares(self.balanced, history) if self.weighting == "dynamic" else {}
        for name, part in self.parts.items():
            risen = part.weight_in(epoch) / part.weight if part.weight else 1.0
            self.shares[name].assign(risen * balance.get(name, 1.0))

    def current(self) -> dict[str, float]:
        """{"<part>_weight": its weight in the total now}, for parts whose weight changes."""
        weights = {}
        for name, part in self.parts.items():
            if part.whole_from > 1 or (self.weighting != "fixed" and name in self.balanced):
                share = float(ops.convert_to_numpy(self.shares[name]))
                if name in self.log_variances:
                    share *= float(np.exp(-ops.convert_to_numpy(self.log_variances[name])))
                weights[f"{name}_weight"] = part.weight * share
        return weights


class WeighLosses(keras.callbacks.Callback):
    """Sets the weights of losses before each epoch, and adds them to the epoch's logs.

    Args:
        weights: the weights to set.
        history: a row for each epoch so far; another callback appends to it.
    """

    def __init__(self, weights: LossWeights, history: Sequence[Mapping[str, float]]) -> None:
        super().__init__()
        self._weights = weights
        self._history = history

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Set the weights; Keras counts epochs from 0."""
        self._weights.begin_epoch(epoch + 1, self._history)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Add the weights to the logs, for the callbacks that follow."""
        if logs is not None:
            logs.update(self._weights.current())


def _dynamic_shares(heads: Sequence[str], history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """λ_i of `dynamic` for each head."""
    if len(history) < 2 or not heads:
        return {}
    before, last = history[-2], history[-1]
    ratios = np.array([_ratio(last[f"{name}_loss"], before[f"{name}_loss"]) for name in heads]) / _TEMPERATURE
    shares = np.exp(ratios - ratios.max())
    return dict(zip(heads, (len(heads) * shares / shares.sum()).tolist(), strict=True))


def _ratio(last: float, before: float) -> float:
    """The ratio of two losses; 1 if it is undefined, such as when no example had a target."""
    ratio = last / before if before else 1.0
    return ratio if np.isfinite(ratio) else 1.0
