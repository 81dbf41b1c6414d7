"""Fitting the linear models that stand beside the deep network, once that is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy import sparse

from mmstream import terminal
from mmstream.config.schema import Config
from mmstream.evaluation.linear_models import LinearModels
from mmstream.evaluation.outcomes import TrainedHead
from mmstream.evaluation.simple_features import MOST_RECORDS
from mmstream.models.compose import Composition
from mmstream.models.multimodal_model import MultimodalModel
from mmstream.models.wide import features_of
from mmstream.preprocessing import examples
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.training.batches import TrainingExamples
from mmstream.training.stacking import Stack

_READ_AT_ONCE = 256
_MOST_WEIGHED = 2_000_000
"""How many numbers of each model decide the weights: records times classes."""


def fit_wide(
    config: Config,
    composition: Composition,
    model: MultimodalModel,
    preprocessor: Preprocessor,
    data: TrainingExamples,
) -> None:
    """Fit the linear models beside the deep network.

    For each head, there is a linear model of each field, and one of all of them: least squares on the training split,
    in closed form. Their sum with the deep network is weighed on the validation split, where a model that has learnt
    its records by heart is of no use.

    Source: Wolpert, "Stacked generalization" (1992), for weights that are fitted to other data than the models.

    Args:
        config: says what each head reads and predicts.
        composition: the trained networks.
        model: what was trained, which says what the network reads of a batch.
        preprocessor: that of the examples.
        data: the examples of the training.
    """
    for name, part in config.model.heads.items() if config.model.wide else ():
        counts = {
            field: preprocessor.fields[field].count_linear_features(preprocessor.fitted[field])
            for field in config.reads(part)
        }
        useful = {field for field, count in counts.items() if count}
        for field in sorted(useful - set(composition.wide[name].features if name in composition.wide else ())):
            terminal.say(
                f"model.wide: no linear model of {field} is added to the head {name}: the head has no logits or "
                "numbers to add it to, or the linear model would be too large"
            )
    if not composition.wide:
        return
    splits = [_Split(config, composition, model, data, name) for name in ("train", "validation")]
    for name, layer in composition.wide.items():
        target = config.model.heads[name].target
        head, vocabulary = composition.heads[name], preprocessor.fitted[target].vocabulary
        known, targets = zip(*(each.known_targets(target, head, vocabulary) for each in splits), strict=True)
        if not len(known[0]) or not len(known[1]):
            continue
        fields = sorted(layer.features)
        models = [_fit(splits, some, known, targets) for some in _sets(fields)]
        trained = TrainedHead(head, preprocessor.fitted[target], {})
        deep, offset, *weights = splits[1].stack(trained, name, target, models).weights()
        weighed = list(zip(weights, models, strict=True))
        layer.scale.assign(deep)
        layer.bias.assign(offset + sum(weight * model.constants for weight, model in weighed))
        for field in fields:
            slopes = sum(weight * model.slopes[field] for weight, model in weighed if field in model.slopes)
            layer.kernels[field].assign(np.concatenate([np.zeros((1, layer.outputs)), slopes]))


@dataclasses.dataclass(frozen=True)
class _LinearModel:
    """A linear model of some fields.

    Attributes:
        slopes: {field: float[F, K]}.
        constants: float[K].
        outputs: float[N, K], for the validation split.
    """

    slopes: Mapping[str, np.ndarray]
    constants: np.ndarray
    outputs: np.ndarray


def _sets(fields: Sequence[str]) -> list[tuple[str, ...]]:
    """Each field, and all of them."""
    each: list[tuple[str, ...]] = [(field,) for field in fields]
    return each if len(fields) < 2 else [*each, tuple(fields)]


def _fit(
    splits: Sequence[_Split], fields: Sequence[str], known: Sequence[np.ndarray], targets: Sequence[np.ndarray]
) -> _LinearModel:
    features = [sparse.csr_array(sparse.hstack([each.features[field] for field in fields], "csr")) for each in splits]
    slopes, constants = LinearModels([*features, features[1]]).fit(known, targets)
    ends = np.cumsum([splits[0].features[field].shape[1] for field in fields])[:-1]
    parts = np.split(slopes, ends)
    return _LinearModel(dict(zip(fields, parts, strict=True)), constants, features[1] @ slopes + constants)


class _Split:
    """The examples of a split, as many as baselines read.

    Attributes:
        features: {field: sparse float[N, F]}.
        given: {target field: object[N]}, the values of the records.
        targets: {target field: {tensor: [N, …]}}.
        deep: {head: {prediction: float[N, …]}}, those of the deep network; of the validation split only.
    """

    def __init__(
        self, config: Config, composition: Composition, model: MultimodalModel, data: TrainingExamples, split: str
    ) -> None:
        layers = list(composition.wide.values())
        targets = sorted({config.model.heads[name].target for name in composition.wide})
        outputs = {name: composition.training.output["heads"][name] for name in composition.wide}
        deep = keras.Model(composition.training.input["fields"], outputs)  # without the linear models
        inputs, given, tensors, predictions = [], [], [], []
        rows = examples.read_examples(data.shards(split)).take(MOST_RECORDS)
        for serialised in rows.batch(_READ_AT_ONCE):
            batch = examples.parse(serialised, data.specs)
            given.append(examples.given(serialised, targets))
            tensors.append({name: batch[name] for name in targets})
            read = model.read(batch)
            inputs.append(features_of(layers, data.fields, batch, read))
            if split == "validation":
                predictions.append(deep(read, training=False))
        self.given = {
            name: np.concatenate([each[name] for each in given] or [np.array([], object)]) for name in targets
        }
        self.targets = _joined(tensors)
        self.deep = _joined(predictions)
        sizes = {name: size for layer in layers for name, size in layer.features.items()}
        read_features = _joined(inputs)
        self.features = {name: _sparse(read_features.get(name), size) for name, size in sizes.items()}

    def stack(self, head: TrainedHead, name: str, target: str, models: Sequence[_LinearModel]) -> Stack:
        """The sum of the deep network and linear models for a head, over as many records as decide the weights."""
        rows = slice(max(_MOST_WEIGHED // models[0].outputs.shape[1], _READ_AT_ONCE))
        deep = {key: values[rows] for key, values in self.deep[name].items()}
        targets = {**self.targets[target], "given": self.given[target]}
        linear = [model.outputs[rows] for model in models]
        return Stack(head, deep, linear, {key: each[rows] for key, each in targets.items()})

    def known_targets(self, target: str, head: Any, vocabulary: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The records that have a target which training knows, int[N], and these targets as float[N, K]."""
        if head.label_type in ("string", "strings"):
            return _hot(self.given[target], vocabulary, exclusive=head.label_type == "string")
        if not len(self.given[target]):
            return np.zeros(0, int), np.zeros((0, 1))
        known = np.flatnonzero(self.targets[target]["known"].min(1))
        return known, self.targets[target]["values"][known].astype(np.float64)


def _hot(given: np.ndarray, vocabulary: Sequence[str], *, exclusive: bool) -> tuple[np.ndarray, np.ndarray]:
    """The records that have a target which training knows, int[N], and these targets as float[N, V]."""
    index = {value: place for place, value in enumerate(vocabulary)}
    values = [value if value is None or not exclusive else [value] for value in given]
    known = [n for n, value in enumerate(values) if value is not None and (not exclusive or value[0] in index)]
    hot = np.zeros((len(known), len(vocabulary)))
    for row, n in enumerate(known):
        hot[row, [index[value] for value in values[n] or () if value in index]] = 1
    return np.array(known, int), hot


def _sparse(inputs: Mapping[str, np.ndarray] | None, size: int) -> sparse.csr_array:
    if inputs is None:
        return sparse.csr_array((0, size))
    if "dense" in inputs:
        return sparse.csr_array(inputs["dense"] * inputs["present"][:, None].astype(np.float64))
    ids = inputs["ids"].reshape(len(inputs["ids"]), -1)
    weights = inputs.get("weights", np.ones(ids.shape))
    rows, columns = np.nonzero(ids)
    return sparse.csr_array((weights[rows, columns], (rows, ids[rows, columns] - 1)), shape=(len(ids), size))


def _joined(batches: list[Any]) -> Any:
    if not batches:
        return {}
    return keras.tree.map_structure(
        lambda *parts: np.concatenate([ops.convert_to_numpy(each) for each in parts]), *batches
    )
