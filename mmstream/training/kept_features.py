"""What frozen layers give for each example, computed once and kept beside the examples."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmstream import terminal
from mmstream.config.schema import Config
from mmstream.interfaces import Field, Spec, TensorSpec
from mmstream.models.backbones import Tensors, ended_before, spec_of
from mmstream.models.compose import Composition
from mmstream.preprocessing import examples
from mmstream.records.record import digest_of
from mmstream.storage import files
from mmstream.storage.json_files import write_json
from mmstream.training.batches import TrainingExamples

_FOLDER, _DONE = "features", "features.json"
_VERSION = 1
"""Kept features of another version are computed anew."""
_SPLITS = ("train", "validation")


@dataclasses.dataclass(frozen=True)
class FixedLayers:
    """Layers whose weights never change in training, which the training network begins behind.

    Attributes:
        kept: {field: what they give}, of the fields for which it is computed once and kept.
        live: the same, of the fields for which it is computed in each step: fields that are augmented, and fields whose
            own tensors an objective reads.
    """

    kept: Mapping[str, Tensors]
    live: Mapping[str, Tensors]


def fixed_layers(composition: Composition, fields: Mapping[str, Field]) -> FixedLayers:
    """The layers of a network whose weights never change."""
    needs = [name for layer in composition.objectives.values() for name in layer.needs()]
    live = {name.split(".")[1] for name in needs if name.startswith("fields.")}
    live |= {name for name in composition.fixed if fields[name].augments}
    return FixedLayers(
        {name: given for name, given in composition.fixed.items() if name not in live},
        {name: given for name, given in composition.fixed.items() if name in live},
    )


def keep_features(
    config: Config, inputs: Mapping[str, Tensors], kept: Mapping[str, Tensors], data: TrainingExamples
) -> TrainingExamples:
    """Examples that hold what fixed layers give, computed unless an earlier training has left it.

    Args:
        config: the config of the training.
        inputs: the inputs of the network that the layers are in; the layers have their weights.
        kept: {field: what its fixed layers give in this network}.
        data: the examples.
    """
    layers = ended_before(inputs, kept)
    if layers is None:
        return data
    about = _about(config, layers, data)
    folder = files.join(data.path, _FOLDER, about["key"])
    if files.read_if_there(files.join(folder, _DONE)) is None:
        _remove_outdated(data.path, about["shards"])
        names = ", ".join(sorted(kept))
        terminal.say(f"computing once what the frozen layers give for {names}; it is kept in {folder}")
        for split in _SPLITS:
            for shard in data.shards(split):
                _encode(layers, data, shard, files.join(folder, "examples", split, files.name(shard)))
        write_json(files.join(folder, _DONE), about)
    specs = {
        name: {**_left(spec), **spec_of(kept[name])} if name in kept else spec for name, spec in data.specs.items()
    }
    return TrainingExamples(folder, specs, data.fields)


def _left(spec: Spec) -> dict[str, TensorSpec]:
    """Of the tensors that fixed layers have read, those that are small; pixels are kept nowhere else."""
    return {name: each for name, each in spec.items() if each.dtype != "uint8"}


def _about(config: Config, layers: Any, data: TrainingExamples) -> dict[str, Any]:
    """What kept features depend on, and a key of all of it."""
    weights = hashlib.sha256()
    for weight in layers.weights:
        weights.update(np.ascontiguousarray(weight).tobytes())
    shards = digest_of(
        [[split, files.name(path), files.checksum(path)] for split in _SPLITS for path in data.shards(split)]
    )
    key = digest_of(
        [
            _VERSION,
            [[type(each).__name__, each.get_config()] for each in layers.layers],
            weights.hexdigest(),
            config.training.precision,
            shards,
        ]
    )
    return {"key": key, "shards": shards}


def _remove_outdated(examples_path: str, shards: str) -> None:
    """Remove what was kept for examples that have changed since."""
    folder = files.join(examples_path, _FOLDER)
    for path in list(files.list_files(folder)) if files.exists(folder) else ():
        kept, _, name = path.partition("/")
        if name == _DONE and json.loads(files.read_bytes(files.join(folder, path)))["shards"] != shards:
            files.remove_folder(files.join(folder, kept))


def _encode(layers: Any, data: TrainingExamples, shard: str, place: str) -> None:
    """Write a shard with what layers give in place of the tensors that they read."""
    import tensorflow as tf

    specs = {name: data.specs[name] for name in layers.input}
    replaced = [f"{name}/{key}" for name, spec in specs.items() for key in spec.keys() - _left(spec).keys()]
    temporary = files.temporary_for(place)
    with examples.ExampleWriter(temporary) as writer:
        for serialised in examples.read_examples([shard]).batch(examples.PARSED_AT_ONCE):
            tensors = examples.parse(serialised, specs)
            given = layers(
                {name: {key: tensors[name][key] for key in layers.input[name]} for name in specs}, training=False
            )
            arrays = tf.nest.map_structure(lambda value: tf.cast(value, tf.float32).numpy(), given)
            for row, example in enumerate(serialised.numpy()):
                writer.write(examples.with_tensors(example, arrays, row, without=replaced))
    files.move_in(temporary, place)
