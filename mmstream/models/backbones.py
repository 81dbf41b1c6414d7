"""Encoders of fields, with their backbones; and networks that begin behind what never changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from mmstream.config.schema import Config
from mmstream.interfaces import Spec, TensorSpec

_PRESENT = "present"
Tensors = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Encoding:
    """A field's encoder, after its backbone if it has one.

    Attributes:
        encoder: reads what the backbone gives, or else the field's tensors.
        backbone: a pretrained layer that reads the field's tensors, or None.
        backbone_is_fixed: whether its weights never change in training.
        encoder_is_fixed: the same for the encoder.
    """

    encoder: Any
    backbone: Any
    backbone_is_fixed: bool
    encoder_is_fixed: bool

    def __call__(self, tensors: Mapping[str, Any]) -> Tensors:
        """{tensor: [B, …]} → {"tokens": float[B, T, D], "mask": float[B, T]}."""
        return self.stages(tensors)[-1]

    def stages(self, tensors: Mapping[str, Any]) -> list[Tensors]:
        """What each layer gives, the backbone's outputs first if there is a backbone."""
        given = [dict(tensors)]
        if self.backbone is not None:
            given.append(self.backbone(given[-1]))
        return [*given[1:], self.encoder(given[-1])]

    @property
    def layers(self) -> list[Any]:
        """The backbone, if there is one, and the encoder."""
        return [self.encoder] if self.backbone is None else [self.backbone, self.encoder]

    @property
    def fixed_layers(self) -> list[Any]:
        """Those of the layers whose weights never change."""
        fixed = [(self.backbone, self.backbone_is_fixed), (self.encoder, self.encoder_is_fixed)]
        return [layer for layer, is_fixed in fixed if is_fixed]

    def fixed_of(self, stages: list[Tensors]) -> Tensors | None:
        """Of what `stages` gives, the last that does not depend on weights that change; None if all of it does."""
        fixed = [self.encoder_is_fixed] if self.backbone is None else [self.backbone_is_fixed, self.encoder_is_fixed]
        if all(fixed):
            return stages[-1]
        return stages[0] if fixed[0] else None


def encoding_of(config: Config, field: str, encoder: Any) -> Encoding:
    """The encoding of a field, whose encoder has just been made."""
    backbone = encoder.backbone(name=f"backbones_{field}") if hasattr(encoder, "backbone") else None
    adapted = config.model.encoders[field].adapt is not None
    backbone_is_fixed = backbone is not None and config.freeze_of_backbone(field).forever and not adapted
    return Encoding(encoder, backbone, backbone_is_fixed, config.freeze_of(f"encoders.{field}").forever)


def begun_behind(network: keras.Model, fixed: Mapping[str, Tensors]) -> keras.Model:
    """A network that takes, for some fields, what fixed layers give in place of the field's tensors.

    Args:
        network: {"fields": {field: {tensor}}, "targets": …} → named outputs.
        fixed: {field: what its fixed layers give in this network}.
    """
    if not fixed:
        return network
    given = network.input
    fields = {
        name: {**fixed[name], _PRESENT: tensors[_PRESENT]} if name in fixed else tensors
        for name, tensors in given["fields"].items()
    }
    inputs = keras.tree.flatten(given)
    places = {id(tensor): tensor._keras_history for tensor in inputs}
    outputs = keras.tree.map_structure(  # Keras 3.15 loses outputs that are inputs
        lambda tensor: keras.layers.Identity()(tensor) if id(tensor) in places else tensor, network.output
    )
    begun = keras.Model({**given, "fields": fields}, outputs, name=network.name)
    for tensor in inputs:  # Keras 3.15 moves the inputs to the new network, so that no other can be saved
        tensor._keras_history = places[id(tensor)]
    return begun


def ended_before(inputs: Mapping[str, Tensors], fixed: Mapping[str, Tensors]) -> keras.Model | None:
    """The fixed layers alone: {field: {tensor}} → {field: what they give}; None if there are none.

    Args:
        inputs: the inputs of the network that the layers are in.
        fixed: {field: what its fixed layers give in this network}.
    """
    read = {name: {key: tensor for key, tensor in inputs[name].items() if key != _PRESENT} for name in fixed}
    return keras.Model(read, dict(fixed), name="fixed") if fixed else None


def spec_of(given: Mapping[str, Any]) -> Spec:
    """The shapes of what layers give for one record, in float32, in which they are kept."""
    return {name: TensorSpec(tuple(tensor.shape[1:]), "float32") for name, tensor in given.items()}
