"""Training parts whose weights come from elsewhere: frozen, unfrozen later, slowly, or by small additions (LoRA)."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
from keras import ops

from mmstream.config.adaptation import NEVER, FreezeConfig
from mmstream.config.schema import Config
from mmstream.errors import MmstreamError
from mmstream.models.compose import Composition
from mmstream.training.transfer import layers_of


@dataclasses.dataclass(frozen=True)
class _Adapted:
    """A layer whose weights come from elsewhere.

    Attributes:
        layer: the layer.
        freeze: the epochs in which its weights do not change.
        scale: how fast they change, compared with all others.
        lora: the rank of the matrices that are trained beside its kernels; 0 for none.
        is_backbone: whether it is a pretrained backbone, whose batch normalisation always keeps its statistics.
    """

    layer: Any
    freeze: FreezeConfig
    scale: float
    lora: int = 0
    is_backbone: bool = False


class Adaptation(keras.callbacks.Callback):
    """Freezes and unfreezes layers between the epochs, and lets them learn slowly.

    Args:
        config: the config of the training.
        composition: the networks, with their weights from elsewhere.
    """

    def __init__(self, config: Config, composition: Composition) -> None:
        super().__init__()
        self._resumes = False
        self._adapted = list(_adapted(config, composition))
        for each in self._adapted:
            if each.lora:
                _enable_lora(each)

    @property
    def has_lora(self) -> bool:
        """Whether matrices are trained beside frozen kernels."""
        return any(each.lora for each in self._adapted)

    def prepare(self, optimizer: keras.optimizers.Optimizer, model: keras.Model, epoch: int) -> None:
        """Build an optimizer for all weights that change in any epoch, and freeze what does not change in the first.

        Args:
            optimizer: the optimizer that the model is compiled with.
            model: the model that is trained.
            epoch: the first epoch, counted from 1.
        """
        self._resumes = epoch > 1
        for each in self._adapted:
            _set_trainable(each, not each.freeze.forever)
        changing = [(weight, each.scale) for each in self._adapted for weight in each.layer.trainable_weights]
        if changing:
            optimizer.exclude_from_weight_decay(var_list=[weight for weight, _ in changing])
            optimizer.build(model.trainable_variables)
            _slow_down(
                optimizer, {optimizer._get_variable_index(weight): scale for weight, scale in changing if scale != 1}
            )
        for each in self._adapted:
            _set_trainable(each, not each.freeze.frozen_in(epoch))

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin anew with LoRA's matrices after an interruption: a checkpoint has added them to the kernels."""
        layers = [layer for each in self._adapted for layer in each.layer._flatten_layers()]
        for layer in layers if self._resumes else ():
            if getattr(layer, "lora_enabled", False):
                layer.lora_kernel_a.assign(keras.initializers.HeUniform(seed=1)(layer.lora_kernel_a.shape))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Unfreeze the layers whose last frozen epoch is over; `epoch` is counted from 0."""
        thawed = [
            each for each in self._adapted if not each.freeze.forever and each.freeze.until_epoch == epoch and epoch
        ]
        for each in thawed:
            _set_trainable(each, True)
        if thawed:
            self.model.make_train_function(force=True)


def _adapted(config: Config, composition: Composition) -> Iterator[_Adapted]:
    named = {part: each for each in config.training.initialise for part in each.parts}
    for part, each in named.items():
        for layer in layers_of(part, composition):
            yield _Adapted(layer, each.freeze or NEVER, each.learning_rate_scale)
    for name, encoding in composition.encodings.items():
        if encoding.backbone is not None and f"encoders.{name}" not in named:
            encoder = config.model.encoders[name]
            rank = encoder.adapt.lora if encoder.adapt else 0
            freeze = NEVER if rank else config.freeze_of_backbone(name)
            yield _Adapted(encoding.backbone, freeze, encoder.learning_rate_scale, rank, is_backbone=True)


def _enable_lora(each: _Adapted) -> None:
    """Freeze the weights of a layer, and put small matrices beside the kernels in it."""
    layers = [layer for layer in each.layer._flatten_layers() if hasattr(layer, "enable_lora")]
    if not layers:
        raise MmstreamError(f"{each.layer.name} has no kernels that can be adapted with `lora`")
    for weight in each.layer.weights:
        weight.trainable = False
    _fix_normalisation(each.layer)
    for layer in layers:
        layer.enable_lora(each.lora)


def _set_trainable(each: _Adapted, trainable: bool) -> None:
    if each.lora:
        return
    each.layer.trainable = trainable
    if each.is_backbone:
        _fix_normalisation(each.layer)


def _fix_normalisation(layer: Any) -> None:
    """Let batch normalisation keep its statistics: those of small batches would spoil what was learnt from many."""
    for inner in layer._flatten_layers():
        if isinstance(inner, keras.layers.BatchNormalization):
            inner.trainable = False


def _slow_down(optimizer: keras.optimizers.Optimizer, scales: dict[int, float]) -> None:
    """Let an optimizer change some weights more slowly: Keras has one learning rate for all.

    Args:
        optimizer: the optimizer, built.
        scales: by the number of the weight in the optimizer, as all optimizers of Keras number them.
    """
    update = optimizer.update_step

    def update_step(gradient: Any, variable: Any, learning_rate: Any) -> None:
        scale = scales.get(optimizer._get_variable_index(variable), 1.0)
        update(gradient, variable, ops.multiply(learning_rate, scale))

    if scales:
        optimizer.update_step = update_step


def without_lora(trained: Composition, fresh: Composition) -> Composition:
    """Networks without LoRA, with the weights of trained ones; the trained matrices are added to the kernels.

    Args:
        trained: the trained networks.
        fresh: networks that are composed from the same config.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "merged.weights.h5"
        trained.inference.save_weights(path)
        fresh.inference.load_weights(path)
    return fresh
