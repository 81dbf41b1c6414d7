"""The batches that training and validation read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmstream.config.schema import Config
from mmstream.preprocessing import examples
from mmstream.preprocessing.preprocessor import Preprocessor


def training_batches(
    config: Config,
    preprocessor: Preprocessor,
    examples_path: str,
    count: int,
    first_epoch: int,
    steps: int,
    draws: examples.Draws | None,
) -> Any:
    """Batches for one epoch after another, prefetched to the device.

    After an interruption, the remaining batches are not those of an uninterrupted training.
    """
    import tensorflow as tf

    data = examples.training_batches(
        examples.shards_of(examples_path, "train"),
        _specs(config, preprocessor),
        preprocessor.fields,
        batch_size=config.training.batch_size,
        seed=config.training.seed + first_epoch,
        count=count,
        draws=draws,
    )
    data = data.map(lambda tensors: _inputs(config, tensors)).take(steps).repeat()
    gpus = tf.config.list_logical_devices("GPU")
    if not gpus or config.training.strategy == "mirrored":  # mirrored prefetches to each device itself
        return data
    return examples.without_autotuning(data.apply(tf.data.experimental.prefetch_to_device(gpus[0].name)))


def validation_batches(
    config: Config, preprocessor: Preprocessor, examples_path: str, count: int, draws: examples.Draws | None
) -> Any:
    """The validation split, in order; cached in memory if it fits.

    With `draws`, an example weighs as much as training would draw it, so that the epoch that is best by the validation
    loss is the best for what training minimises.
    """
    import tensorflow as tf

    shards = examples.shards_of(examples_path, "validation")
    size = config.training.batch_size
    specs = _specs(config, preprocessor)
    data = examples.batches(shards, specs, size, draws).map(lambda *batch: _inputs(config, *batch))
    if count <= examples.fitting(specs):  # otherwise each epoch decompresses them again
        data = data.cache().prefetch(2)  # Keras stops at the last batch, but a cache needs the end to be complete
    return data.apply(tf.data.experimental.assert_cardinality(-(-count // size)))


def _specs(config: Config, preprocessor: Preprocessor) -> dict[str, Any]:
    fields = set(config.model.encoders) | {head.target for head in config.model.heads.values()}
    return {name: preprocessor.specs[name] for name in sorted(fields)}


def _inputs(config: Config, tensors: Mapping[str, Any], weights: Any = None) -> dict[str, Any]:
    """The input of `MultimodalModel` for a batch."""
    import tensorflow as tf

    return {
        "fields": {name: tensors[name] for name in config.model.encoders},
        "targets": {head.target: tensors[head.target] for head in config.model.heads.values()},
        **({} if weights is None else {"weights": tf.cast(weights, tf.float32)}),
    }
