"""Composing a network of plugins' layers from a config and what was fitted to the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import keras

from mmstream.config.schema import FUSED, Config, HeadConfig, needs_fusion
from mmstream.errors import MmstreamError, choices
from mmstream.interfaces import Fitted, Head, Objective, Reading, Spec
from mmstream.models.backbones import Encoding, Tensors, encoding_of
from mmstream.models.layers import ZeroAbsent
from mmstream.models.plan import FieldPart, Plan
from mmstream.models.precision import dtype_policy
from mmstream.models.shared_space import SharedSpace, fuse
from mmstream.models.wide import Wide, added_to, features_of, linear_models
from mmstream.models.writing import Candidates, Generation, Nearest, Sampling
from mmstream.plugins import components, registry

SAMPLED = "drawn"
"""The training network's output of sampled texts. It sorts first: layers in checkpoints follow the order of outputs."""


ALONE = "fields_alone"
"""The training network's output of what heads of a fusion predict from each of its fields alone: {head: {field}}."""


@dataclasses.dataclass(frozen=True)
class Composition:
    """A composed network in two forms, for training and for inference, on the same layers.

    Attributes:
        training: {"fields": {field: {tensor}}, "targets": {field: {tensor}}} → named outputs.
        inference: {field: {tensor}} → named outputs; autoregressive heads generate.
        heads: the layer of each head.
        objectives: the layer of each objective, built.
        wide: the linear models beside the deep network, of each head that has any; only inference reads them.
        encodings: the encoder of each field, with its backbone.
        fixed: {field: what layers give whose weights never change in training}, as tensors of the training network.
    """

    training: keras.Model
    inference: keras.Model
    heads: dict[str, Head]
    objectives: dict[str, Objective]
    wide: dict[str, Wide]
    encodings: dict[str, Encoding]
    fixed: dict[str, Tensors]


def compose(config: Config, specs: Mapping[str, Spec], fitted: Mapping[str, Fitted]) -> Composition:
    """Build the network that a config describes.

    Args:
        config: its `model` section names the parts, its `training` section gives precision and modality dropout.
        specs: {field: {tensor: shape and dtype}}, `present` included.
        fitted: what the full pass learnt about each field.

    Returns:
        networks whose outputs are {"embeddings": {field: [B, D]}, "fused": [B, D] (if something reads it),
        "heads": {head: predictions}, "present": {head: [B]}}; the inference network also gives "readings", what each
        autoregressive head reads, so that its logits can be checked, and the training network "drawn", the texts that
        are sampled from such heads for the objectives that need them, and "fields_alone", see `ALONE`.

    Raises:
        MmstreamError: a part does not fit the field that it reads or predicts, or an objective needs a tensor that is
            not there.
    """
    with dtype_policy(config.training.precision):
        plan = Plan(config, specs, fitted)
        encoded = _encode(plan)
        objectives = {
            name: components.build("objective", part.use, part.parameters, name=f"objectives_{name}")
            for name, part in config.model.objectives.items()
        }
        needed = {tensor for objective in objectives.values() for tensor in objective.needs()}
        fused = _fuse(config, encoded, _generator_of(config, objectives), needed)
        targets = _targets(plan)
        heads = _connect_heads(plan, encoded, fused, targets)
        layers = {name: head.layer for name, head in heads.items()}
        wide = linear_models(plan, layers, {name: head.generated for name, head in heads.items()}, encoded.fixed)
        fields = {name: plan.field(name) for name in encoded.inputs} if wide else {}
        features = features_of(wide.values(), fields, encoded.inputs, encoded.fixed)
        for name, layer in wide.items():
            generated, prediction = heads[name].generated, added_to(layers[name])
            total = layer(generated[prediction], {field: features[field] for field in layer.features})
            heads[name] = dataclasses.replace(heads[name], generated={**generated, prediction: total})
        outputs = _outputs(encoded, heads, fused)
        inference = _inference(encoded, heads, outputs)
        outputs[SAMPLED] = _sampled(config, heads, needed)
        outputs[ALONE] = _alone(config, heads, encoded)
        training = keras.Model({"fields": encoded.inputs, "targets": targets}, outputs, name="training")
        _build_objectives(objectives, _shapes(plan, outputs))
        return Composition(training, inference, layers, objectives, wide, encoded.encodings, encoded.fixed)


@dataclasses.dataclass(frozen=True)
class _EncodedFields:
    """The fields that a network reads, encoded.

    Attributes:
        inputs: the inputs of the network, {field: {tensor}}.
        encodings: the encoder of each field, with its backbone.
        fixed: {field: what layers give whose weights never change}.
        space: the space that the fields share.
        readings: the reading of each field alone.
    """

    inputs: dict[str, dict[str, Any]]
    encodings: dict[str, Encoding]
    fixed: dict[str, Tensors]
    space: SharedSpace
    readings: dict[str, Reading]

    @property
    def embeddings(self) -> dict[str, Any]:
        """{field: float[B, D]}, zero where the field is absent."""
        return {name: reading["vector"] for name, reading in self.readings.items()}


@dataclasses.dataclass(frozen=True)
class _ConnectedHead:
    """A head in both networks.

    Attributes:
        layer: the head.
        reading: what it reads.
        predictions: its outputs in the training network.
        generated: its outputs in the inference network: the predictions, or what an autoregressive head generates.
    """

    layer: Any
    reading: Reading
    predictions: dict[str, Any]
    generated: dict[str, Any]


def _encode(plan: Plan) -> _EncodedFields:
    """Connect the encoder of each field, and map its tokens into the shared space."""
    width, names = plan.config.model.width, sorted(plan.config.model.encoders)
    inputs = {name: _inputs("fields", name, plan.specs[name]) for name in names}
    encodings, encoded, fixed = {}, {}, {}
    for name in names:
        part = plan.encoder(name)
        with part.naming_errors():
            encodings[name] = encoding_of(plan.config, name, part.build(width=width))
            stages = encodings[name].stages({key: value for key, value in inputs[name].items() if key != "present"})
            encoded[name] = stages[-1]
            given = encodings[name].fixed_of(stages)
            if given is not None:
                fixed[name] = given
    space = SharedSpace(encoded, width)
    readings = {}
    for name, each in encoded.items():
        present = inputs[name]["present"]
        vector = ZeroAbsent(name=f"embedding_{name}")(space.project(name, each), present)
        readings[name] = Reading(tokens=each["tokens"], mask=each["mask"], present=present, vector=vector)
    return _EncodedFields(inputs, encodings, fixed, space, readings)


def _inputs(kind: str, field: str, spec: Spec) -> dict[str, Any]:
    return {
        tensor: keras.Input(shape, dtype=dtype, name=f"{kind}-{field}-{tensor}")
        for tensor, (shape, dtype) in sorted(spec.items())
    }


def _generator_of(config: Config, objectives: Mapping[str, Objective]) -> Any:
    """The built layer that imputes embeddings of absent fields; None if the config names none.

    Raises:
        MmstreamError: the objective that the config names has none.
    """
    if not config.model.impute:
        return None
    generator = getattr(objectives[config.model.impute], "generator", None)
    if generator is None:
        use = config.model.objectives[config.model.impute].use
        raise MmstreamError(f"model.impute: the objective {use!r} cannot impute missing fields")
    generator.build(dict.fromkeys(generator.fields, (None, config.model.width)))
    return generator


def _fuse(
    config: Config, encoded: _EncodedFields, generator: Any, needed: Collection[str]
) -> dict[tuple[str, ...], Reading]:
    """The fusions that heads and objectives read, by the fields that are fused."""
    read = {config.reads(head) for head in config.model.heads.values() if needs_fusion(head)}
    if FUSED in needed:
        read.add(tuple(sorted(encoded.readings)))
    return {
        fields: fuse(config, {name: encoded.readings[name] for name in fields}, generator) for fields in sorted(read)
    }


def _targets(plan: Plan) -> dict[str, dict[str, Any]]:
    """{field: {tensor}}: inputs of the training network for the targets of autoregressive heads."""
    return {
        part.target: _inputs("targets", part.target, plan.specs[part.target])
        for _, part in sorted(plan.config.model.heads.items())
        if registry.find("head", part.use).autoregressive
    }


def _connect_heads(
    plan: Plan,
    encoded: _EncodedFields,
    fused: Mapping[tuple[str, ...], Reading],
    targets: Mapping[str, Mapping[str, Any]],
) -> dict[str, _ConnectedHead]:
    """Connect each head to the field, or the fusion, that it reads."""
    heads = {}
    for name, part in sorted(plan.config.model.heads.items()):
        fields = plan.config.reads(part)
        reading = fused[fields] if needs_fusion(part) else encoded.readings[fields[0]]
        heads[name] = _connect_head(plan.head(name), reading, targets.get(part.target), encoded)
    return heads


def _connect_head(head: FieldPart, reading: Reading, target: Any, encoded: _EncodedFields) -> _ConnectedHead:
    """Connect a head for training and for inference.

    Args:
        head: the part of the config.
        reading: what the head reads.
        target: the tensors of its target field, given only to an autoregressive head.
        encoded: all encoded fields.
    """
    with head.naming_errors():
        layer = head.build()
        if not layer.autoregressive:
            predictions = layer(reading)
            return _ConnectedHead(layer, reading, predictions, predictions)
        predictions = layer(reading, target)
        part = head.config
        if not isinstance(part, HeadConfig) or part.match is None:
            return _ConnectedHead(layer, reading, predictions, Generation(layer)(reading))
        key = f"model.heads.{head.name}.match"
        if not hasattr(layer, "candidates"):
            raise MmstreamError(
                f"{key}: {part.use!r} cannot write several candidate texts, which `match` would compare"
            )
        if others := set(head.spec) - {"ids", "present"}:
            raise MmstreamError(
                f"{key}: generated text consists only of token ids, but the field {head.field!r} also has "
                f"{', '.join(sorted(others))}"
            )
        texts = Candidates(layer, part.candidates)(reading)
        vectors = encoded.space.project(head.field, encoded.encodings[head.field]({"ids": texts["ids"]}))
        nearest = Nearest(part.candidates, name=f"nearest_{head.name}")
        return _ConnectedHead(
            layer, reading, predictions, nearest(texts, vectors, encoded.readings[part.match]["vector"])
        )


def _outputs(
    encoded: _EncodedFields, heads: Mapping[str, _ConnectedHead], fused: Mapping[tuple[str, ...], Reading]
) -> dict[str, Any]:
    """The outputs that the training and inference networks share; the predictions are those for training."""
    outputs: dict[str, Any] = {
        "embeddings": encoded.embeddings,
        "heads": {name: head.predictions for name, head in heads.items()},
        "present": {name: head.reading["present"] for name, head in heads.items()},
    }
    everything = tuple(sorted(encoded.readings))
    return outputs | ({FUSED: fused[everything]["vector"]} if everything in fused else {})


def _inference(encoded: _EncodedFields, heads: Mapping[str, _ConnectedHead], outputs: Mapping[str, Any]) -> keras.Model:
    """The network that labels."""
    generated = {name: head.generated for name, head in heads.items()}
    readings = {
        name: Reading(tokens=r["tokens"], mask=r["mask"], vector=r["vector"], present=r["present"])
        for name, r in ((name, head.reading) for name, head in heads.items() if head.layer.autoregressive)
    }
    return keras.Model(encoded.inputs, {**outputs, "heads": generated, "readings": readings}, name="inference")


def _sampled(config: Config, heads: Mapping[str, _ConnectedHead], needed: Collection[str]) -> dict[str, Any]:
    """{head: float32[B, L, R]}: texts sampled from autoregressive heads for the objectives that need them."""
    return {
        name: Sampling(head.layer, config.training.seed, name=f"drawing_{name}")(head.reading)
        for name, head in heads.items()
        if f"sampled.{name}" in needed and head.layer.autoregressive and hasattr(head.layer, "sample")
    }


def _alone(
    config: Config, heads: Mapping[str, _ConnectedHead], encoded: _EncodedFields
) -> dict[str, dict[str, dict[str, Any]]]:
    """What each head of a fusion predicts from each of its fields alone; {} without `model.auxiliary`."""
    read = {
        name: config.reads(config.model.heads[name])
        for name, head in heads.items()
        if config.model.auxiliary and not head.layer.autoregressive
    }
    return {
        name: {field: heads[name].layer(encoded.readings[field]) for field in fields}
        for name, fields in read.items()
        if len(fields) > 1
    }


def _shapes(plan: Plan, outputs: Mapping[str, Any]) -> dict[str, tuple[int | None, ...]]:
    """The shapes of all tensors that an objective may need, by name, with None for B."""
    fields, targets = outputs["embeddings"], {head.target for head in plan.config.model.heads.values()}
    shapes: dict[str, tuple[int | None, ...]] = {
        f"{kind}.{name}.{tensor}": (None, *spec.shape)
        for kind, names in (("fields", fields), ("targets", targets))
        for name in names
        for tensor, spec in plan.specs[name].items()
    }
    shapes |= {f"embeddings.{name}": tensor.shape for name, tensor in fields.items()}
    shapes |= {f"present.{name}": (None,) for name in fields}
    shapes |= {
        f"heads.{n}.{tensor}": value.shape for n, each in outputs["heads"].items() for tensor, value in each.items()
    }
    shapes |= {f"sampled.{name}": tensor.shape for name, tensor in outputs[SAMPLED].items()}
    return shapes | ({FUSED: outputs[FUSED].shape} if FUSED in outputs else {})


def _build_objectives(objectives: Mapping[str, Any], shapes: Mapping[str, tuple[int | None, ...]]) -> None:
    for name, objective in objectives.items():
        for tensor in objective.needs():
            if tensor not in shapes:
                raise MmstreamError(
                    f"model.objectives.{name} needs the tensor {tensor!r}, which does not exist. "
                    f"{choices(tensor, shapes)}"
                )
        objective.build({tensor: shapes[tensor] for tensor in objective.needs()})
