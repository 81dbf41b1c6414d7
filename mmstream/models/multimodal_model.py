"""The composed network with its losses: L = Σ α_i L_i over heads and objectives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mmstream.config.schema import Config
from mmstream.models.compose import ALONE, SAMPLED, Composition
from mmstream.models.loss_weights import LossWeights


class MultimodalModel(keras.Model):
    """The model that `fit` trains. Its input is {"fields": {field: {tensor}}, "targets": {field: {tensor}}}, without y.

    Each head's loss is the mean over the examples that have a target and anything that the head reads. If the input
    also holds "weights", float32[B], it is the mean with these weights.

    Source: the weighted sum of task losses in Caruana, "Multitask learning" (1997).

    Args:
        composition: the networks and layers.
        config: precision, weights and targets of heads, weights of objectives.
        replicas: how many devices share a batch; their gradients are summed, so the loss is divided by this.
        fixed: the layers whose weights never change, of the fields of which the training network reads what these give
            and the input holds the tensors: {field: {tensor}} → {field: what they give}.
    """

    def __init__(
        self,
        composition: Composition,
        config: Config,
        *,
        replicas: int = 1,
        fixed: keras.Model | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": config.training.precision, **kwargs})
        self.replicas = replicas
        self.training_network = composition.training
        self.fixed_network = fixed
        self.head_layers = composition.heads
        self.objective_layers = composition.objectives
        self.auxiliary = config.model.auxiliary
        self.targets = {name: part.target for name, part in config.model.heads.items()}
        self.loss_weights = LossWeights(config)
        self.trackers = {
            name: keras.metrics.Mean(name=f"{name}_loss") for name in (*self.head_layers, *self.objective_layers)
        }
        self.progress_trackers = {
            name: keras.metrics.Mean(name=f"{name}_{head.progress_metric}") for name, head in self.head_layers.items()
        }
        self.figure_trackers = {
            name: {figure: keras.metrics.Mean(name=f"{name}_{figure}") for figure in objective.progress_metrics}
            for name, objective in self.objective_layers.items()
            if hasattr(objective, "progress_metrics")
        }

    def build(self, input_shape: Any = None) -> None:
        """Build the weights of the losses; `compose` has built the network and the objectives."""
        self.loss_weights.build()
        self.built = True

    def call(self, inputs: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Named outputs, as `compose` describes them."""
        read = {"fields": self.read(inputs["fields"]), "targets": inputs["targets"]}
        return self.training_network(_only(self.training_network.input, read), training=training)

    def read(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """What the training network reads of a batch of fields; layers that never change work as they do in labelling.

        Args:
            fields: {field: {tensor: [B, …]}}.
        """
        read = dict(fields)
        if self.fixed_network is not None:
            given = self.fixed_network(_only(self.fixed_network.input, fields), training=False)
            read |= {name: {**fields[name], **each} for name, each in given.items()}
        return _only(self.training_network.input["fields"], read)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool | None = True,
    ) -> Any:
        """Σ α_i L_i as `LossWeights` says, float32 scalar; each L_i is tracked as the metric "<name>_loss"."""
        losses, counts = {}, {}
        for name, head in self.head_layers.items():
            target, predictions = x["targets"][self.targets[name]], y_pred["heads"][name]
            mask = head.target_mask(target) * ops.cast(y_pred["present"][name], "float32")
            mask = mask * x["weights"] if "weights" in x else mask
            counts[name] = ops.sum(mask)
            losses[name] = _mean(head.loss(predictions, target), mask)
            self.trackers[name].update_state(losses[name], sample_weight=counts[name])
            if training and name in y_pred[ALONE]:
                losses[name] += self.auxiliary * self._loss_alone(name, x, y_pred[ALONE][name])
            self.progress_trackers[name].update_state(head.progress(predictions, target), sample_weight=mask)
        for name, objective in self.objective_layers.items():
            tensors = {key: named_tensor(key, x, y_pred) for key in objective.needs()}
            losses[name] = objective(tensors, training=training)
            self.trackers[name].update_state(losses[name])
            if name in self.figure_trackers:
                for figure, value in objective.progress(tensors).items():
                    self.figure_trackers[name][figure].update_state(value)
        total = self.loss_weights(losses, counts, training=training)
        for extra in self.losses:
            total += ops.cast(extra, "float32")
        return total / self.replicas

    def _loss_alone(self, name: str, x: Mapping[str, Any], predictions: Mapping[str, Any]) -> Any:
        """What a head loses by reading each of its fields alone: the mean over the fields, float32 scalar."""
        head, target = self.head_layers[name], x["targets"][self.targets[name]]
        known = head.target_mask(target) * x.get("weights", 1.0)
        return sum(
            _mean(head.loss(each, target), known * ops.cast(x["fields"][field]["present"], "float32"))
            for field, each in predictions.items()
        ) / len(predictions)


def _only(taken: Any, given: Any) -> Any:
    """Of nested dicts, those items that a network takes."""
    return {key: _only(each, given[key]) for key, each in taken.items()} if isinstance(taken, dict) else given


def _mean(values: Any, weights: Any) -> Any:
    """The weighted mean of float32[B]; 0 if all weights are 0."""
    return ops.sum(values * weights) / ops.maximum(ops.sum(weights), 1.0)


def named_tensor(name: str, x: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
    """The tensor that an objective refers to by a name, such as "embeddings.image" or "targets.group.id"."""
    kind, *path = name.split(".")
    if kind == "present":
        return x["fields"][path[0]]["present"]
    tensor: Any = x[kind] if kind in ("fields", "targets") else outputs[SAMPLED if kind == "sampled" else kind]
    for step in path:
        tensor = tensor[step]
    return tensor
