"""The network of a config, composed for `check` and `describe` before any data are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from mmstream.config.schema import FUSED, Config
from mmstream.interfaces import Field, Fitted, Spec, TensorSpec
from mmstream.models.compose import Composition, compose
from mmstream.preprocessing.preprocessor import PRESENT, Preprocessor
from mmstream.storage import files
from mmstream.training.made_with import check_fields, read_about_examples

STAND_IN_VALUES = 1000
"""The length of every vocabulary before the data are analysed."""
_MIB = 2**20
_TRAINING_COPIES = 4
"""The copies of each weight that Adam trains: the weight itself, its gradient and two moments."""


def compose_unfitted(config: Config) -> Composition:
    """Compose the network of a config, with vocabularies of a stand-in length.

    Raises:
        MmstreamError: its parts do not fit together.
    """
    specs, fitted = _specs(config, "")
    return compose(config, specs, fitted)


def describe_config(config: Config, examples: str = "") -> dict[str, Any]:
    """The parts of a config's network, with their shapes, parameters and memory.

    Args:
        config: a config without problems.
        examples: output of `mmstream preprocess`, whose vocabularies give the true sizes; "" for stand-ins.

    Returns:
        {"parts": rows of {"part", "use", "reads", "gives", "parameters"}, in the order in which data flow;
        "parameters": of the whole network; "memory": {what: MiB}; "vocabularies": {field: number of values};
        with examples, "truncated": {field: {"values": the share of its values that are too long, "elements": the
        share of all their elements, such as tokens, that are cut off}}}.

    Raises:
        MmstreamError: the parts do not fit together, or the examples were made with other fields.
    """
    specs, fitted = _specs(config, examples)
    composition = compose(config, specs, fitted)
    parts = [
        *_fields(config, specs),
        *_encoders(config, composition),
        *_shared(config, composition),
        *_heads(config, composition),
        *_objectives(config, composition),
    ]
    weights = composition.training.count_params()
    frozen = sum(layer.count_params() for each in composition.encodings.values() for layer in each.fixed_layers)
    batch = config.training.batch_size
    row = sum(int(np.prod(shape)) * np.dtype(kind).itemsize for spec in specs.values() for shape, kind in spec.values())
    return {
        "parts": parts,
        "parameters": weights,
        "memory": {
            "weights": round(4 * weights / _MIB, 2),
            "weights_in_training": round(4 * (frozen + _TRAINING_COPIES * (weights - frozen)) / _MIB, 2),
            f"tensors_of_a_batch_of_{batch}": round(batch * row / _MIB, 2),
        },
        "vocabularies": {name: len(one.vocabulary) for name, one in fitted.items() if one.vocabulary},
        **({"truncated": _truncated(config, examples)} if examples else {}),
    }


def _specs(config: Config, examples: str) -> tuple[dict[str, Spec], dict[str, Fitted]]:
    if examples:
        check_fields(config, read_about_examples(examples), examples)
        preprocessor = Preprocessor(config.fields, files.join(examples, "transform"))
        return preprocessor.specs, preprocessor.fitted
    fields = Preprocessor(config.fields).all_fields
    values = tuple(map(str, range(STAND_IN_VALUES)))
    fitted = {
        name: Fitted(
            () if type(field).looked_up is Field.looked_up else values,
            dict.fromkeys(field.statistics, (float(STAND_IN_VALUES),)),
        )
        for name, field in fields.items()
    }
    present = TensorSpec((), "float32")
    return {name: {**field.spec(fitted[name]), PRESENT: present} for name, field in fields.items()}, fitted


def _truncated(config: Config, examples: str) -> dict[str, dict[str, float]]:
    shares = Preprocessor(config.fields, files.join(examples, "transform")).truncated()
    return {name: {"values": values, "elements": elements} for name, (values, elements) in shares.items()}


def _fields(config: Config, specs: Mapping[str, Spec]) -> list[dict[str, Any]]:
    rows = []
    for name, field in config.fields.items():
        tensors = {key: _shape(shape, kind) for key, (shape, kind) in specs[name].items() if key != PRESENT}
        rows.append(_row(f"fields.{name}", field.use, ", ".join(field.reads), tensors, 0))
    return rows


def _encoders(config: Config, composition: Composition) -> list[dict[str, Any]]:
    rows = []
    for name, part in sorted(config.model.encoders.items()):
        layer = composition.training.get_layer(f"encoders_{name}")
        tensors = dict(zip(("mask", "tokens"), keras.tree.flatten(layer.output), strict=True))  # sorted by name
        shapes = {key: _shape(tensor.shape[1:], tensor.dtype) for key, tensor in tensors.items()}
        parameters = sum(each.count_params() for each in composition.encodings[name].layers)
        rows.append(_row(f"model.encoders.{name}", part.use, name, shapes, parameters))
    return rows


def _shared(config: Config, composition: Composition) -> list[dict[str, Any]]:
    """The shared space, and each fusion."""
    network, width = composition.training, _shape((config.model.width,), "float32")
    names = sorted(config.model.encoders)
    maps = [network.get_layer("shared_map"), *(network.get_layer(f"field_map_{name}") for name in names)]
    rows = [_row("embeddings", "", ", ".join(names), width, sum(layer.count_params() for layer in maps))]
    for layer in network.layers:
        if layer.name == "fusion" or layer.name.startswith("fusion_"):
            assert config.model.fusion is not None
            reads = layer.name.removeprefix("fusion").removeprefix("_") or ", ".join(names)
            rows.append(_row("model.fusion", config.model.fusion.use, reads, width, layer.count_params()))
    return rows


def _heads(config: Config, composition: Composition) -> list[dict[str, Any]]:
    rows = []
    for name, part in sorted(config.model.heads.items()):
        reads = part.reads if isinstance(part.reads, str) else ", ".join(part.reads)
        outputs = composition.training.output["heads"][name]
        shapes = {key: _shape(tensor.shape[1:], tensor.dtype) for key, tensor in outputs.items()}
        parameters = composition.heads[name].count_params()
        row = _row(f"model.heads.{name}", part.use, "all fields" if reads == FUSED else reads, shapes, parameters)
        rows.append({**row, "predicts": part.target, "weight": part.weight})
    return rows


def _objectives(config: Config, composition: Composition) -> list[dict[str, Any]]:
    rows = []
    for name, part in sorted(config.model.objectives.items()):
        needs = ", ".join(composition.objectives[name].needs())
        row = _row(f"model.objectives.{name}", part.use, needs, "loss float32[]", 0)
        rows.append({**row, "weight": part.weight})
    return rows


def _row(part: str, use: str, reads: str, gives: str | Mapping[str, str], parameters: int) -> dict[str, Any]:
    text = gives if isinstance(gives, str) else ", ".join(f"{key} {shape}" for key, shape in sorted(gives.items()))
    return {"part": part, "use": use, "reads": reads, "gives": text, "parameters": parameters}


def _shape(shape: Any, kind: Any) -> str:
    return f"{keras.backend.standardize_dtype(kind)}[{', '.join(map(str, shape))}]"
