"""Training: examples and a config in, a model directory out; goes on where an interrupted run stopped."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mmstream import books, evaluation, examples, files, golden, lock, outputs, terminal
from mmstream.conditions import WHOLE
from mmstream.config import Config
from mmstream.errors import MmstreamError
from mmstream.json_files import write_json
from mmstream.model_files import write_model_json
from mmstream.models.compose import Composition, compose
from mmstream.models.loss_weights import WeighLosses
from mmstream.models.multimodal_model import MultimodalModel
from mmstream.network_file import network_bytes
from mmstream.preprocessing import Preprocessor, settings_of
from mmstream.proof import expected_arrays
from mmstream.records import digest_of
from mmstream.trained_model import TrainedModel, versions_of


def train(
    config: Config, examples_path: str, output: str, *, verbose: int | None = None, take_over: bool = False
) -> TrainedModel:
    """Train the network that a config describes and save the model.

    Args:
        config: whose `fields` are those that the examples were made with.
        examples_path: output of `mmstream preprocess`.
        output: local directory of the model.
        verbose: of Keras' `fit`; by default a progress bar on a terminal, and a line an epoch elsewhere.
        take_over: the output, from a training that holds it.

    Raises:
        MmstreamError: examples and config do not fit, there is nothing to train on, the output is something else, or
            another training writes to it.
    """
    about_examples = read_about_examples(examples_path, config)
    work = Path(output) / "training"
    key = digest_of([config.model_dump(mode="json", exclude={"source", "resume"}), about_examples["fingerprint"]])
    outputs.check_places(output)
    with lock.held(output, books.new_run(), take_over=take_over):
        if open_model_directory(output, work, key):
            return TrainedModel(output)
        with terminal.library_log(Path(output) / "logs" / "train.log"):
            return _train(config, examples_path, output, about_examples["splits"], verbose)


def _train(
    config: Config, examples_path: str, output: str, counts: Mapping[str, int], verbose: int | None
) -> TrainedModel:
    keras.utils.set_random_seed(config.training.seed)
    preprocessor = Preprocessor(config.fields, files.join(examples_path, "transform"))
    steps = max(counts["train"] // config.training.batch_size, 1)
    if config.training.steps_per_epoch:
        steps = min(steps, config.training.steps_per_epoch)
    with distribution(config) as replicas:
        composition = compose(config, preprocessor.specs, preprocessor.fitted)
        model = MultimodalModel(composition, config, replicas=replicas)
        model.build()
        optimizer = make_optimizer(config, steps)
        optimizer.exclude_from_weight_decay(var_list=model.loss_weights.trainable_variables)
        model.compile(optimizer=optimizer, jit_compile=config.training.jit_compile)

    checkpoint = Checkpoint(Path(output) / "training", config)
    training_data = _training_data(config, preprocessor, examples_path, counts["train"], checkpoint.epoch, steps)
    validation_data = None
    if counts["validation"]:
        validation_data = _validation_data(config, preprocessor, examples_path, counts["validation"])
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
                keras.callbacks.TensorBoard(os.fspath(Path(output) / "logs"), write_graph=False),
            ],
            verbose=(1 if sys.stdout.isatty() else 2) if verbose is None else verbose,
        )
    checkpoint.restore_best(model)
    return save_model(config, composition, examples_path, output, checkpoint)


def read_about_examples(examples_path: str, config: Config) -> dict[str, Any]:
    """What preprocess says of its output.

    Raises:
        MmstreamError: it is not there, is damaged, was made with other fields, or has nothing to train on.
    """
    about = outputs.read_books(examples_path, "preprocess")
    if not about:
        raise MmstreamError(f"{examples_path} is not a finished output of `mmstream preprocess`")
    if "transform" in about and about["transform"] != outputs.transform_files(examples_path):
        raise MmstreamError(
            f"transform/ in {examples_path} is not what preprocess wrote; run `mmstream preprocess` again, which "
            "writes it anew"
        )
    fields = settings_of(config.fields)
    changed = sorted(name for name in {*fields, *about["fields"]} if fields.get(name) != about["fields"].get(name))
    if changed:
        raise MmstreamError(
            f"the examples in {examples_path} were made with other settings of the fields {', '.join(changed)}; "
            "run `mmstream preprocess` again with this config"
        )
    if not about["splits"]["train"]:
        raise MmstreamError(f"{examples_path} has no training examples")
    return about


def open_model_directory(output: str, work: Path, key: str) -> bool:
    """Begin a model in its directory, or find it as an earlier run of the same training left it.

    Returns:
        whether the training is finished already.

    Raises:
        MmstreamError: the directory holds something else.
    """
    folder, state = Path(output), work / "key"
    if state.exists():
        if state.read_text() != key:
            raise MmstreamError(
                f"{output} holds the training of another config or other examples; name another --output, or remove it"
            )
        return (folder / "model.json").exists()
    if any(path.name != lock.FILE for path in folder.iterdir()):
        raise MmstreamError(f"{output} holds something that `mmstream train` did not make; name another --output")
    files.write_bytes(str(state), key.encode())
    return False


@contextlib.contextmanager
def distribution(config: Config) -> Iterator[int]:
    """While the block runs, variables are made for the devices that train; gives how many share a batch.

    Raises:
        MmstreamError: they cannot share a batch of this size evenly.
    """
    if config.training.strategy == "single":
        yield 1
        return
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if config.training.batch_size % len(devices):
        size = config.training.batch_size
        raise MmstreamError(f"training.batch_size: {len(devices)} devices cannot share {size} examples evenly")
    with tf.distribute.MirroredStrategy([device.name for device in devices]).scope():
        yield len(devices)


def make_optimizer(config: Config, steps: int) -> keras.optimizers.Optimizer:
    """The optimizer of a config, its learning rate falling as `training.schedule` says.

    Args:
        config: its `training` section.
        steps: batches in an epoch.
    """
    part = config.training.optimizer
    optimizer = keras.optimizers.get({"class_name": part.use, "config": part.parameters})
    if config.training.schedule == "cosine":
        rate = float(np.asarray(optimizer.learning_rate))
        optimizer.learning_rate = keras.optimizers.schedules.CosineDecay(rate, config.training.epochs * steps)
    return optimizer


class Checkpoint(keras.callbacks.Callback):
    """Keeps the best weights and all that is needed to go on after an interruption; stops when nothing improves.

    Keras' own callbacks for these do not share their state: after a restart, early stopping would begin to count anew.

    Args:
        folder: for the state.
        config: its `training` section.
    """

    def __init__(self, folder: Path, config: Config) -> None:
        super().__init__()
        self._folder = folder
        stopping = config.training.early_stopping
        self._monitor = stopping.monitor if stopping else "val_loss"
        self._patience = stopping.patience if stopping else None
        whole_from = (part.whole_from for part in config.losses.values() if part.weight)
        self._whole_from = max((epoch for epoch in whole_from if epoch <= config.training.epochs), default=1)
        self._state = folder / "state.json"
        state = json.loads(self._state.read_text()) if self._state.exists() else {}
        self.epoch: int = state.get("epoch", 0)
        self.best_epoch: int = state.get("best_epoch", 0)
        self.history: list[dict[str, float]] = state.get("history", [])

    @property
    def stopped(self) -> bool:
        """Whether training has ended early."""
        begun = max(self.best_epoch, self._whole_from)
        return self._patience is not None and self.epoch - begun >= self._patience

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Load what an interrupted run left."""
        if self.epoch:
            self.model.optimizer.build(self.model.trainable_variables)  # only then does it take its state
            self.model.load_weights(self._folder / f"epoch-{self.epoch}.weights.h5")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Save the state; the best weights are those with the lowest monitored value (the loss, without validation).

        Of the epochs in which every loss has its whole weight, once there is one; a loss that never has it is left out.
        """
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.history.append({"epoch": epoch + 1, **values})
        monitor = self._monitor if self._monitor in values else "loss"
        if self._patience is not None and self._monitor not in values and self._monitor != "val_loss":
            raise MmstreamError(
                f"training.early_stopping.monitor: there is no {self._monitor!r}; there is {', '.join(sorted(values))}"
            )
        whole = [row for row in self.history if row["epoch"] >= self._whole_from] or self.history
        better = min(whole, key=lambda row: _comparable(row.get(monitor)))
        previous, self.epoch, self.best_epoch = self.epoch, epoch + 1, int(better["epoch"])
        temporary, current = self._folder / "new.weights.h5", self._folder / f"epoch-{self.epoch}.weights.h5"
        self.model.save_weights(temporary)
        temporary.replace(current)
        if self.best_epoch == self.epoch:
            shutil.copyfile(current, temporary)
            temporary.replace(self._best())
        state = {"epoch": self.epoch, "best_epoch": self.best_epoch, "history": self.history}
        write_json(str(self._state), state)
        (self._folder / f"epoch-{previous}.weights.h5").unlink(missing_ok=True)
        for path in set(self._folder.glob("best-*.weights.h5")) - {self._best()}:
            path.unlink()
        self.model.stop_training = self.model.stop_training or self.stopped

    def restore_best(self, model: keras.Model) -> None:
        """Put the best weights into a model."""
        if self._best().exists():
            model.load_weights(self._best())

    def _best(self) -> Path:
        return self._folder / f"best-{self.best_epoch}.weights.h5"


def save_model(
    config: Config, composition: Composition, examples_path: str, output: str, checkpoint: Checkpoint
) -> TrainedModel:
    """Write a model directory: network, preprocessing, calibration, golden records, and model.json last of all."""
    files.sweep(output)  # what a run that was killed while it was saving left half-written is no part of a model
    for folder in ("golden", "transform", "engines"):
        if files.exists(files.join(output, folder)):
            files.remove_folder(files.join(output, folder))
    files.write_bytes(files.join(output, "network.keras"), network_bytes(composition.inference))
    files.write_bytes(files.join(output, "config.yaml"), config.to_yaml().encode())
    _copy_folder(examples_path, output, "transform")
    _copy_folder(examples_path, output, "golden")
    _write_history(Path(output) / "history.csv", checkpoint.history)

    about: dict[str, Any] = {
        "batch": config.training.batch_size,
        "heads": {
            name: {
                "target": part.target,
                "reads": list(config.reads(part)),
                "label": composition.heads[name].label_type,
                "score": composition.heads[name].score_type,
                "match": part.match,
            }
            for name, part in config.model.heads.items()
        },
        "fused": "fused" in composition.inference.output,
        "calibration": {},
        "versions": versions_of(config),
        "epochs": checkpoint.epoch,
        "best_epoch": checkpoint.best_epoch,
    }
    model = TrainedModel(output, embeddings=True, in_training=about)
    about["calibration"] = json.loads(json.dumps(calibrate(model, examples_path)))  # as it is when it is read again
    records = golden.read_golden(output)
    if records:
        expected = expected_arrays(model, records, golden.golden_media(output))
        golden.write_expected(output, expected)
    about["golden"] = len(records)
    write_model_json(output, about)
    return TrainedModel(output)


def calibrate(model: TrainedModel, examples_path: str) -> dict[str, Any]:
    """What each head's `decode` needs beyond the predictions, fitted on the validation split."""
    by_condition, targets = evaluation.predict_split(model, examples_path, "validation")
    outputs = by_condition[WHOLE]
    return {
        name: model.head(name).calibrate(outputs["heads"][name], targets[head["target"]])
        for name, head in model.heads.items()
    }


def _training_data(
    config: Config, preprocessor: Preprocessor, examples_path: str, count: int, first_epoch: int, steps: int
) -> Any:
    """Batches of one epoch after the other, brought to the device ahead of time.

    After an interruption they are others than at the beginning.
    """
    import tensorflow as tf

    data = examples.training_batches(
        examples.shards_of(examples_path, "train"),
        _specs(config, preprocessor),
        preprocessor.fields,
        batch_size=config.training.batch_size,
        seed=config.training.seed + first_epoch,
        count=count,
    )
    data = data.map(lambda tensors: _inputs(config, tensors)).take(steps).repeat()
    gpus = tf.config.list_logical_devices("GPU")
    if not gpus or config.training.strategy == "mirrored":  # which itself brings each device its share ahead of time
        return data
    return examples.without_autotuning(data.apply(tf.data.experimental.prefetch_to_device(gpus[0].name)))


def _validation_data(config: Config, preprocessor: Preprocessor, examples_path: str, count: int) -> Any:
    import tensorflow as tf

    shards = examples.shards_of(examples_path, "validation")
    size = config.training.batch_size
    specs = _specs(config, preprocessor)
    data = examples.batches(shards, specs, size).map(lambda tensors: _inputs(config, tensors))
    data = data.cache() if count <= examples.fitting(specs) else data  # or each epoch unpacks them again
    return data.apply(tf.data.experimental.assert_cardinality(-(-count // size)))


def _specs(config: Config, preprocessor: Preprocessor) -> dict[str, Any]:
    wanted = set(config.model.encoders) | {head.target for head in config.model.heads.values()}
    return {name: preprocessor.specs[name] for name in sorted(wanted)}


def _inputs(config: Config, tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "fields": {name: tensors[name] for name in config.model.encoders},
        "targets": {head.target: tensors[head.target] for head in config.model.heads.values()},
    }


def _copy_folder(source: str, target: str, name: str) -> None:
    folder = files.join(source, name)
    for path in files.list_files(folder) if files.exists(folder) else ():
        files.write_bytes(files.join(target, name, path), files.read_bytes(files.join(folder, path)))


def _write_history(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    columns = list(dict.fromkeys(key for row in history for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(history)


def _comparable(value: float | None) -> float:
    return float("inf") if value is None or np.isnan(value) else value
