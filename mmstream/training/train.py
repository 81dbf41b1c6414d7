"""Training: examples and a config in, a model directory out; continues an interrupted run."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import keras
import numpy as np

from mmstream import terminal
from mmstream.config.schema import Config
from mmstream.errors import MmstreamError
from mmstream.models.backbones import begun_behind, ended_before
from mmstream.models.compose import compose
from mmstream.models.loss_weights import WeighLosses
from mmstream.models.multimodal_model import MultimodalModel
from mmstream.models.wide import NO_EFFECT
from mmstream.outputs import lock, ownership, run_notes
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.records.record import digest_of
from mmstream.storage import files
from mmstream.trained_model.artefact import TrainedModel
from mmstream.training.adaptation import Adaptation, without_lora
from mmstream.training.batches import examples_of, training_batches, validation_batches
from mmstream.training.checkpoint import Checkpoint
from mmstream.training.class_counts import count_classes, draws_of
from mmstream.training.fusions import calibrate_fusions
from mmstream.training.kept_features import fixed_layers, keep_features
from mmstream.training.made_with import fitted_to, read_about_examples
from mmstream.training.saving import save_model
from mmstream.training.transfer import take_weights
from mmstream.training.wide import fit_wide


def train(
    config: Config,
    examples_path: str,
    output: str,
    *,
    verbose: int | None = None,
    take_over: bool = False,
) -> TrainedModel:
    """Train the network that a config describes and save the model.

    Args:
        config: must have the `fields` and `split` that the examples were made with.
        examples_path: output of `mmstream preprocess`.
        output: local directory of the model.
        verbose: as for Keras' `fit`; by default a progress bar on a terminal, and a line per epoch elsewhere.
        take_over: take the output over from another training that holds it.

    Raises:
        MmstreamError: examples and config do not fit, there is nothing to train on, the output holds something else,
            or another training writes to it.
    """
    about_examples = read_about_examples(examples_path)
    config = fitted_to(config, about_examples, examples_path)
    if not about_examples["splits"]["train"]:
        raise MmstreamError(f"{examples_path} has no training examples")
    work = Path(output) / "training"
    key = key_of(config, about_examples["fingerprint"])
    ownership.check_places(output)
    with lock.held(output, run_notes.new_run(), take_over=take_over):
        if open_model_directory(output, work, key):
            return TrainedModel(output)
        with terminal.library_log(Path(output) / "logs" / "train.log"):
            steps = steps_of(config, about_examples["splits"]["train"])
            return _train(config, examples_path, output, about_examples["splits"], steps, verbose)


def key_of(config: Config, fingerprint: str) -> str:
    """The digest by which a training is recognised.

    Args:
        config: the config of the training. Keys that came later are left out at their defaults, so that a training that
            was begun before they came is continued.
        fingerprint: that of the examples.

    Raises:
        MmstreamError: a model that parts are taken from cannot be read.
    """
    whole = config.model_dump(mode="json", exclude={"source", "resume"})
    sections = [(whole["training"], ("sampling", "initialise")), (whole["model"], ("auxiliary", "wide"))]
    sections += [(part, ("freeze", "adapt")) for part in whole["model"]["encoders"].values()]
    for section, keys in sections:
        for key in keys:
            if not section[key]:
                del section[key]
    for part in whole["model"]["encoders"].values():
        if part["learning_rate_scale"] == 1:
            del part["learning_rate_scale"]
    donors = [TrainedModel(each.donor).fingerprint for each in config.training.initialise]
    return digest_of([whole, fingerprint, *donors])


def steps_of(config: Config, examples: int) -> int:
    """The number of batches in an epoch; says so if `training.steps_per_epoch` is too large to have an effect.

    Args:
        config: the config of the training.
        examples: how many there are to train on.
    """
    steps = max(examples // config.training.batch_size, 1)
    most = config.training.steps_per_epoch or steps
    if most > steps and config.is_set_by_user("training.steps_per_epoch"):
        terminal.say(f"training.steps_per_epoch has no effect: an epoch has only {steps:,} batches")
    return min(steps, most)


def _train(
    config: Config, examples_path: str, output: str, counts: Mapping[str, int], steps: int, verbose: int | None
) -> TrainedModel:
    keras.utils.set_random_seed(config.training.seed)
    preprocessor = Preprocessor(config.fields, files.join(examples_path, "transform"))
    if not counts["validation"]:
        terminal.warn("there are no validation examples; the training loss decides which epoch is the best")
    checkpoint = Checkpoint(Path(output) / "training", config)
    with distribution(config) as replicas:
        composition = compose(config, preprocessor.specs, preprocessor.fitted)
        origins = take_weights(config, composition, preprocessor, files.join(examples_path, "transform"))
        data = examples_of(config, preprocessor, examples_path)
        fixed, inputs = fixed_layers(composition, preprocessor.fields), composition.inference.input
        data = keep_features(config, inputs, fixed.kept, data)
        composition = dataclasses.replace(
            composition, training=begun_behind(composition.training, {**fixed.kept, **fixed.live})
        )
        adaptation = Adaptation(config, composition)
        if config.model.wide and not composition.wide:
            terminal.warn(NO_EFFECT)
        model = MultimodalModel(composition, config, replicas=replicas, fixed=ended_before(inputs, fixed.live))
        model.build()
        optimizer = make_optimizer(config, steps)
        optimizer.exclude_from_weight_decay(var_list=model.loss_weights.trainable_variables)
        model.compile(optimizer=optimizer, jit_compile=config.training.jit_compile)
        adaptation.prepare(optimizer, model, checkpoint.epoch + 1)

    draws = draws_of(config, examples_path, preprocessor.fitted)
    count_classes(config, composition.heads, examples_path, preprocessor.fitted, draws)
    training_data = training_batches(config, data, counts["train"], checkpoint.epoch, steps, draws)
    validation_data = None
    if counts["validation"]:
        validation_data = validation_batches(config, data, counts["validation"], draws)
    if checkpoint.epoch < config.training.epochs and not checkpoint.stopped:
        model.fit(
            training_data,
            validation_data=validation_data,
            shuffle=False,  # the data is shuffled already
            steps_per_epoch=steps,
            epochs=config.training.epochs,
            initial_epoch=checkpoint.epoch,
            callbacks=[
                WeighLosses(model.loss_weights, checkpoint.history),
                checkpoint,
                adaptation,
                keras.callbacks.TensorBoard(os.fspath(Path(output) / "logs"), write_graph=False),
            ],
            verbose=(1 if sys.stdout.isatty() else 2) if verbose is None else verbose,
        )
    checkpoint.restore_best(model)
    if validation_data is not None:
        calibrate_fusions(config, composition, model, validation_data)
        fit_wide(config, composition, model, preprocessor, data)
    if adaptation.has_lora:
        composition = without_lora(composition, compose(config, preprocessor.specs, preprocessor.fitted))
    return save_model(config, composition, examples_path, output, checkpoint, origins)


def open_model_directory(output: str, work: Path, key: str) -> bool:
    """Begin a model in its directory, or continue what an earlier run of the same training has left.

    Returns:
        whether the training is finished already.

    Raises:
        MmstreamError: the directory holds something else.
    """
    folder, state = Path(output), work / "key"
    if state.exists():
        if state.read_text() != key:
            raise MmstreamError(
                f"the training in {output} used another config or other examples; "
                "name another --output, or remove this one"
            )
        return (folder / "model.json").exists()
    if any(path.name != lock.FILE for path in folder.iterdir()):
        raise MmstreamError(f"{output} holds something that `mmstream train` did not make; name another --output")
    files.write_bytes(str(state), key.encode())
    return False


@contextlib.contextmanager
def distribution(config: Config) -> Iterator[int]:
    """Create the block's variables for the devices that train; yields how many devices share a batch.

    Raises:
        MmstreamError: they cannot share a batch of this size evenly.
    """
    if config.training.strategy == "single":
        yield 1
        return
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) == 1:
        terminal.say("training.strategy: mirrored has no effect: there is only one device")
    if config.training.batch_size % len(devices):
        size = config.training.batch_size
        raise MmstreamError(f"training.batch_size: {len(devices)} devices cannot share {size} examples evenly")
    with tf.distribute.MirroredStrategy([device.name for device in devices]).scope():
        yield len(devices)


def make_optimizer(config: Config, steps: int) -> keras.optimizers.Optimizer:
    """The optimizer of a config, with its learning rate schedule.

    Args:
        config: the config of the training.
        steps: batches in an epoch.
    """
    part = config.training.optimizer
    optimizer = keras.optimizers.get({"class_name": part.use, "config": part.parameters})
    if config.training.schedule == "cosine":
        rate = float(np.asarray(optimizer.learning_rate))
        optimizer.learning_rate = keras.optimizers.schedules.CosineDecay(rate, config.training.epochs * steps)
    return optimizer
