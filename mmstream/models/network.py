"""Parts of an inference network that has been composed, or loaded from a model."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import keras

from mmstream.config.schema import FUSED
from mmstream.models.writing import Generation


def prune(network: keras.Model, heads: Collection[str], fields: Collection[str], *, embeddings: bool) -> keras.Model:
    """Cut an inference network down to what some heads need, on the same layers.

    Args:
        network: {field: {tensor}} → named outputs.
        heads: the heads to keep.
        fields: the fields that they read; others are no longer inputs.
        embeddings: whether to keep the embeddings and the fused vector, too.
    """
    inputs = {name: tensors for name, tensors in network.input.items() if name in fields}
    outputs = {key: {h: network.output[key][h] for h in sorted(heads)} for key in ("heads", "present")}
    for key in ("embeddings", FUSED) if embeddings else ():
        if key in network.output:
            outputs[key] = network.output[key]
    return keras.Model(inputs, outputs, name="pruned")


def head_of(network: keras.Model, name: str) -> Any:
    """The layer of a head in an inference network."""
    layer = network.get_layer(f"heads_{name}")
    return layer.head if isinstance(layer, Generation) else layer


def readings_of(network: keras.Model, heads: Collection[str], fields: Collection[str]) -> keras.Model | None:
    """A network that gives the readings of those heads that are autoregressive, by head; None if none is."""
    inputs = {name: tensors for name, tensors in network.input.items() if name in fields}
    readings = {name: reading for name, reading in network.output["readings"].items() if name in heads}
    return keras.Model(inputs, readings, name="readings") if readings else None
