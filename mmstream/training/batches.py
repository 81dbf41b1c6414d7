"""The batches that training and validation read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mmstream.config.schema import Config
from mmstream.interfaces import Field, Spec
from mmstream.preprocessing import examples
from mmstream.preprocessing.preprocessor import Preprocessor


@dataclasses.dataclass(frozen=True)
class TrainingExamples:
    """Examples to train on.

    Attributes:
        path: the folder that holds them, in `examples`.
        specs: what is read of them, {field: {tensor: shape and dtype}}.
        fields: the fields, whose `augment` is applied.
    """

    path: str
    specs: Mapping[str, Spec]
    fields: Mapping[str, Field]

    def shards(self, split: str) -> Sequence[str]:
        """The shards of a split; none if it has no examples."""
        return examples.shards_of(self.path, split) if examples.has_shards(self.path, split) else []


def examples_of(config: Config, preprocessor: Preprocessor, path: str) -> TrainingExamples:
    """The examples of an output of `mmstream preprocess`, with the fields that are encoded or predicted."""
    fields = set(config.model.encoders) | {head.target for head in config.model.heads.values()}
    return TrainingExamples(path, {name: preprocessor.specs[name] for name in sorted(fields)}, preprocessor.fields)


def training_batches(
    config: Config, data: TrainingExamples, count: int, first_epoch: int, steps: int, draws: examples.Draws | None
) -> Any:
    """Batches for one epoch after another, prefetched to the device.

    After an interruption, the remaining batches are not those of an uninterrupted training.
    """
    import tensorflow as tf

    batches = examples.training_batches(
        data.shards("train"),
        data.specs,
        data.fields,
        batch_size=config.training.batch_size,
        seed=config.training.seed + first_epoch,
        count=count,
        draws=draws,
    )
    batches = batches.map(lambda tensors: _inputs(config, tensors)).take(steps).repeat()
    gpus = tf.config.list_logical_devices("GPU")
    if not gpus or config.training.strategy == "mirrored":  # mirrored prefetches to each device itself
        return batches
    return examples.without_autotuning(batches.apply(tf.data.experimental.prefetch_to_device(gpus[0].name)))


def validation_batches(config: Config, data: TrainingExamples, count: int, draws: examples.Draws | None) -> Any:
    """The validation split, in order; cached in memory if it fits.

    With `draws`, an example weighs as much as training would draw it, so that the epoch that is best by the validation
    loss is the best for what training minimises.
    """
    import tensorflow as tf

    size = config.training.batch_size
    batches = examples.batches(data.shards("validation"), data.specs, size, draws)
    batches = batches.map(lambda *batch: _inputs(config, *batch))
    if count <= examples.fitting(data.specs):  # otherwise each epoch decompresses them again
        batches = batches.cache().prefetch(2)  # Keras stops at the last batch, but a cache needs the end to be complete
    return batches.apply(tf.data.experimental.assert_cardinality(-(-count // size)))


def _inputs(config: Config, tensors: Mapping[str, Any], weights: Any = None) -> dict[str, Any]:
    """The input of `MultimodalModel` for a batch."""
    import tensorflow as tf

    return {
        "fields": {name: tensors[name] for name in config.model.encoders},
        "targets": {head.target: tensors[head.target] for head in config.model.heads.values()},
        **({} if weights is None else {"weights": tf.cast(weights, tf.float32)}),
    }
