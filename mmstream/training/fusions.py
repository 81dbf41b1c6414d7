"""Fitting what fusions fit to the validation split once the network is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from mmstream.config.schema import Config, HeadConfig, needs_fusion
from mmstream.models.compose import Composition
from mmstream.models.multimodal_model import MultimodalModel
from mmstream.models.shared_space import fusion_name


def calibrate_fusions(config: Config, composition: Composition, model: MultimodalModel, data: Any) -> None:
    """Let each fusion that has `calibrate` fit its own weights to the validation split.

    Args:
        config: says which heads read which fusion.
        composition: the trained networks.
        model: what was trained, which says what the network reads of a batch.
        data: the batches of the validation split.
    """
    by_fields: dict[tuple[str, ...], dict[str, HeadConfig]] = {}
    for name, part in config.model.heads.items():
        if needs_fusion(part) and not composition.heads[name].autoregressive:
            by_fields.setdefault(config.reads(part), {})[name] = part
    fusions: dict[tuple[str, ...], Any] = {
        fields: composition.training.get_layer(fusion_name(config, fields)) for fields in by_fields
    }
    if not any(hasattr(fusion, "calibrate") for fusion in fusions.values()):
        return
    vectors, inputs = _read(composition, model, data)
    for fields, fusion in fusions.items():
        readings = {name: {"vector": vectors[name], "present": inputs["fields"][name]["present"]} for name in fields}
        anything = np.max([reading["present"] for reading in readings.values()], axis=0)
        losses = _Losses(composition, by_fields[fields], fusion, readings, anything, inputs["targets"])
        if hasattr(fusion, "calibrate") and anything.any():
            fusion.calibrate(losses, int(anything.sum()))


class _Losses:
    """The weighted sum of the losses of the heads that read a fusion, as the fusion's weights are when it is called."""

    def __init__(
        self,
        composition: Composition,
        heads: Mapping[str, HeadConfig],
        fusion: Any,
        readings: Mapping[str, Any],
        present: np.ndarray,
        targets: Mapping[str, Any],
    ) -> None:
        self._fusion, self._readings = fusion, readings
        self._heads = []
        for name, part in heads.items():
            layer, target = composition.heads[name], targets[part.target]
            mask = ops.convert_to_numpy(layer.target_mask(target)) * present
            self._heads.append((part.weight, layer, target, mask / max(mask.sum(), 1)))

    def __call__(self) -> float:
        reading = {"vector": self._fusion(self._readings)}
        return sum(
            weight * float(np.sum(ops.convert_to_numpy(layer.loss(layer(reading), target)) * mask))
            for weight, layer, target, mask in self._heads
        )


def _read(composition: Composition, model: MultimodalModel, data: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """{field: float[N, D]}, the vectors of all fields; and of the inputs, the targets and which fields are present."""
    network = keras.Model(composition.training.input["fields"], composition.training.output["embeddings"])
    vectors, inputs = [], []
    for batch in data:
        vectors.append(network(model.read(batch["fields"]), training=False))
        present = {name: {"present": tensors["present"]} for name, tensors in batch["fields"].items()}
        inputs.append({"fields": present, "targets": batch["targets"]})
    return _joined(vectors), _joined(inputs)


def _joined(batches: list[Any]) -> Any:
    return keras.tree.map_structure(
        lambda *parts: np.concatenate([ops.convert_to_numpy(each) for each in parts]), *batches
    )
