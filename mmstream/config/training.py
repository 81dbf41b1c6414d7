"""The section `training` of a config."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import pydantic
from pydantic_core import PydanticCustomError

from mmstream.config.adaptation import InitialiseConfig
from mmstream.config.sections import Positive, Section, Share, Text, Use


class OptimizerConfig(Use):
    """A Keras optimizer, named in lower case; the other keys are its parameters."""

    use: Text = "adamw"


class EarlyStoppingConfig(Section):
    """Stop when `monitor`, a loss, has not improved for `patience` epochs."""

    monitor: Text = "val_loss"
    patience: Positive = 8

    @pydantic.field_validator("monitor")
    @classmethod
    def _is_a_loss(cls, monitor: str) -> str:
        if not re.fullmatch(r"(val_)?(\w+_)?loss", monitor):
            raise ValueError(
                f"expected a loss (lower is better), such as val_loss or val_caption_loss; found {monitor!r}"
            )
        return monitor


class SamplingConfig(Section):
    """How often an epoch draws each training example.

    Attributes:
        balanced: the head whose classes are drawn equally often.
    """

    balanced: Text


class TrainingConfig(Section):
    """How the network is trained.

    Attributes:
        weighting: how heads are balanced, in addition to their `weight`; see `mmstream.models.loss_weights`.
        schedule: "cosine" lets the learning rate fall to zero over all epochs, "constant" keeps it as it is.
        precision: the Keras dtype policy.
        modality_dropout: probability with which a field is hidden from fusions during training.
        sampling: how often an epoch draws each training example; None for once.
        steps_per_epoch: end each epoch after this many batches; None for all.
        strategy: "mirrored" divides each batch among all GPUs of this machine (or, without a GPU, its virtual CPU
            devices), each of which holds the whole network; "single" trains on one device.
        jit_compile: compile training with XLA, which is worthwhile on GPUs.
        initialise: the models from which parts take their weights.
    """

    epochs: Positive = 50
    batch_size: Positive = 64
    optimizer: OptimizerConfig = OptimizerConfig(use="adamw", learning_rate=0.001)  # type: ignore[call-arg]
    schedule: Literal["cosine", "constant"] = "cosine"
    weighting: Literal["fixed", "uncertainty", "dynamic"] = "fixed"
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    seed: Annotated[int, pydantic.Field(ge=0, lt=2**31)] = 1
    modality_dropout: Share = 0.0
    early_stopping: EarlyStoppingConfig | None = None
    sampling: SamplingConfig | None = None
    steps_per_epoch: Positive | None = None
    strategy: Literal["single", "mirrored"] = "single"
    jit_compile: bool = False
    initialise: list[InitialiseConfig] = []

    @pydantic.field_validator("initialise", mode="before")
    @classmethod
    def _takes_one(cls, initialise: Any) -> Any:
        return [initialise] if isinstance(initialise, dict) else initialise

    @pydantic.field_validator("sampling", mode="before")
    @classmethod
    def _names_a_head(cls, sampling: Any) -> Any:
        if isinstance(sampling, str):
            raise PydanticCustomError("sampling", "expected {balanced: HEAD}, the head whose classes are balanced")
        return sampling
