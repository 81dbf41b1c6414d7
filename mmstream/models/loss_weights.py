"""What each loss weighs in the total, and how that changes while a network is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mmstream.config import Config

_TEMPERATURE = 2.0
"""Of the softmax of `dynamic`, as in its source."""


class LossWeights(keras.layers.Layer):
    """L = Σ α_i L_i, in which the α_i of a config rise as its `from_epoch` and `warm_up` say.

    `training.weighting` balances the heads among themselves; objectives keep their α_i:

    - fixed: L_i counts as it is.
    - uncertainty: α_i (exp(-s_i) L_i + s_i / 2), where s_i = log σ_i² is learnt along with the network. Source: Kendall
      et al., "Multi-task learning using uncertainty to weigh losses" (2018).
    - dynamic: α_i λ_i L_i, where λ_i = K softmax(r / 2)_i over the K heads, r_i being L_i of the last epoch divided by
      that of the one before; 1 in the first two epochs. Source: Liu et al., "End-to-end multi-task learning with
      attention" (2019), its dynamic weight average.

    Of validation, the total is that of the config's own, whole α_i, so that epochs can be compared.

    Args:
        config: its heads, objectives and `training.weighting`.
    """

    def __init__(self, config: Config, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", "name": "loss_weights", **kwargs})
        self.parts = config.losses
        self.balanced = list(config.model.heads)
        self.weighting = config.training.weighting
        self.shares: dict[str, Any] = {}
        self.log_variances: dict[str, Any] = {}

    def build(self, losses_shape: Any = None, counts_shape: Any = None) -> None:
        """Make the weights: what each loss counts now, and the uncertainties."""
        for name in self.parts:
            self.shares[name] = self.add_weight(shape=(), initializer="ones", trainable=False, name=f"{name}_share")
        if self.weighting == "uncertainty":
            for name in self.balanced:
                self.log_variances[name] = self.add_weight(
                    shape=(), initializer="zeros", name=f"{name}_log_variance", autocast=False
                )
        self.built = True

    def call(self, losses: Mapping[str, Any], counts: Mapping[str, Any], training: bool | None = None) -> Any:
        """The total, float32 scalar.

        Args:
            losses: float32 scalars by part.
            counts: of each head, float32: how many examples its loss is the mean of.
            training: False for the total of the whole α_i.
        """
        total = ops.zeros((), "float32")
        for name, loss in losses.items():
            weight = self.parts[name].weight
            if training:
                if name in self.log_variances:
                    log_variance = self.log_variances[name]
                    known = ops.cast(counts[name] > 0, "float32")
                    loss = ops.exp(-log_variance) * loss + 0.5 * known * log_variance
                loss = self.shares[name] * loss
            total += weight * loss
        return total

    def begin_epoch(self, epoch: int, history: Sequence[Mapping[str, float]]) -> None:
        """Set what each loss counts in an epoch.

        Args:
            epoch: its number, from 1.
            history: of the epochs before it, with the "<head>_loss" of each.
        """
        balance = _falling(self.balanced, history) if self.weighting == "dynamic" else {}
        for name, part in self.parts.items():
            risen = part.weight_in(epoch) / part.weight if part.weight else 1.0
            self.shares[name].assign(risen * balance.get(name, 1.0))

    def told(self) -> dict[str, float]:
        """{"<part>_weight": what its loss counts now}, for parts of which that changes."""
        found = {}
        for name, part in self.parts.items():
            if part.whole_from > 1 or (self.weighting != "fixed" and name in self.balanced):
                share = float(ops.convert_to_numpy(self.shares[name]))
                if name in self.log_variances:
                    share *= float(np.exp(-ops.convert_to_numpy(self.log_variances[name])))
                found[f"{name}_weight"] = part.weight * share
        return found


class WeighLosses(keras.callbacks.Callback):
    """Sets the weights of losses before each epoch, and adds them to what is said of it.

    Args:
        weights: to set.
        history: of the epochs so far, which somebody else adds to.
    """

    def __init__(self, weights: LossWeights, history: Sequence[Mapping[str, float]]) -> None:
        super().__init__()
        self._weights = weights
        self._history = history

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Set them; Keras counts epochs from 0."""
        self._weights.begin_epoch(epoch + 1, self._history)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Say them: what is added here, later callbacks see."""
        if logs is not None:
            logs.update(self._weights.told())


def _falling(heads: Sequence[str], history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """λ of `dynamic` for each head."""
    if len(history) < 2 or not heads:
        return {}
    before, last = history[-2], history[-1]
    ratios = np.array([_ratio(last[f"{name}_loss"], before[f"{name}_loss"]) for name in heads]) / _TEMPERATURE
    shares = np.exp(ratios - ratios.max())
    return dict(zip(heads, (len(heads) * shares / shares.sum()).tolist(), strict=True))


def _ratio(last: float, before: float) -> float:
    """By how much a loss fell; 1 where that cannot be told, as where no example had the target."""
    ratio = last / before if before else 1.0
    return ratio if np.isfinite(ratio) else 1.0
