"""What a config says, as pydantic models. `config_file` reads and checks the file."""

from __future__ import annotations

import io
import re
from typing import Annotated, Any, Literal

import pydantic
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from mmstream.errors import ConfigError, describe
from mmstream.yaml_lines import InvalidYamlError, read_yaml

FUSED = "fused"

_PLAIN = re.compile(r"[\w./][\w./-]*")

Share = Annotated[float, pydantic.Field(ge=0.0, lt=1.0)]
Weight = Annotated[float, pydantic.Field(ge=0.0)]
Positive = Annotated[int, pydantic.Field(gt=0, lt=2**31)]
Text = Annotated[str, pydantic.Field(min_length=1)]


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class _Use(pydantic.BaseModel):
    """A component by name; every key beside the declared ones is a parameter of its constructor."""

    model_config = pydantic.ConfigDict(extra="allow", frozen=True, strict=True)
    use: Text

    @property
    def parameters(self) -> dict[str, Any]:
        """The component's own parameters."""
        return dict(self.model_extra or {})


class SourceConfig(_Use):
    """Where records come from.

    Attributes:
        path: file or folder, relative to the config file.
        id: the column that names a record; without it, the origin does.
        roots: folders beside the input's own that media may lie in.
        limit: read only so many rows; None for all.
    """

    path: Text
    id: Text | None = None
    roots: list[Text] = []
    limit: Positive | None = None


class SplitConfig(_Section):
    """How records are divided: by a hash of the id or of `group`'s value, or as `column` says.

    Attributes:
        validation: share of the validation split.
        test: share of the test split.
        group: records with the same value here stay together.
        column: this column holds "train", "validation" or "test".
    """

    validation: Share = 0.1
    test: Share = 0.1
    group: Text | None = None
    column: Text | None = None

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> SplitConfig:
        if self.validation + self.test >= 1:
            raise ValueError("validation + test leave nothing to train on")
        if self.column and (self.group or {"validation", "test"} & self.model_fields_set):
            raise ValueError("`column` gives the splits; it does not go with `group`, `validation` or `test`")
        return self


class FieldConfig(_Use):
    """One field; `column` where the column has another name than the field, `columns` where it reads several."""

    column: Text = ""
    columns: Annotated[list[Text], pydantic.Field(min_length=1)] | None = None

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> FieldConfig:
        if self.column and self.columns:
            raise ValueError("`column` and `columns` do not go together")
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return tuple(self.columns) if self.columns else (self.column,)

    @property
    def parameters(self) -> dict[str, Any]:
        """The component's own parameters; one that reads several columns is told which."""
        return {**super().parameters, **({"columns": self.columns} if self.columns else {})}


class PartConfig(_Use):
    """An encoder or a fusion."""


class _WeightedConfig(_Use):
    """A part with a loss.

    Attributes:
        weight: of its loss in the total, α.
        from_epoch: the first epoch, from 1, in which its loss counts.
        warm_up: over so many epochs its weight rises in even steps before it is whole.
    """

    weight: Weight = 1.0
    from_epoch: Positive = 1
    warm_up: Annotated[int, pydantic.Field(ge=0, lt=2**31)] = 0

    def weight_in(self, epoch: int) -> float:
        """Its weight in an epoch, the first being 1.

        >>> part = ObjectiveConfig(use="contrastive", weight=2.0, from_epoch=3, warm_up=1)
        >>> [part.weight_in(epoch) for epoch in (1, 2, 3, 4, 5)]
        [0.0, 0.0, 1.0, 2.0, 2.0]
        """
        steps = max(epoch - self.from_epoch + 1, 0)
        return self.weight * min(steps / (self.warm_up + 1), 1.0)

    @property
    def whole_from(self) -> int:
        """The first epoch in which its weight is whole."""
        return self.from_epoch + self.warm_up


class HeadConfig(_WeightedConfig):
    """A head: predicts the field `target` from what it `reads`.

    Attributes:
        match: a field that it reads; of several `candidates` that it writes, labelling takes the one whose embedding is
            nearest to this field's.
        candidates: how many.
    """

    target: Text = ""
    reads: str | list[str] = FUSED
    match: Text | None = None
    candidates: Positive = 8

    @pydantic.field_validator("reads", mode="before")
    @classmethod
    def _check_reads(cls, reads: Any) -> Any:
        names = reads if isinstance(reads, list) else [reads]
        if not names or not all(isinstance(name, str) for name in names):
            raise PydanticCustomError("reads", "expected a field, a list of fields, or `fused`")
        if isinstance(reads, list) and FUSED in names:
            raise PydanticCustomError("reads", "`fused` is all fields and stands alone, not in a list")
        if len(set(names)) < len(names):
            raise PydanticCustomError("reads", "a field is named twice")
        return reads


class ObjectiveConfig(_WeightedConfig):
    """A loss between named tensors."""


class ModelConfig(_Section):
    """The network's parts.

    Attributes:
        width: D, the one number that they share.
        impute: the objective whose generator makes what fusions read of fields that are absent.
    """

    width: Positive = 128
    encoders: dict[str, PartConfig]
    fusion: PartConfig | None = None
    heads: dict[str, HeadConfig] = {}
    objectives: dict[str, ObjectiveConfig] = {}
    impute: Text | None = None

    @property
    def imputation(self) -> ObjectiveConfig | None:
        """The objective that `impute` names."""
        return self.objectives[self.impute] if self.impute else None


class OptimizerConfig(_Use):
    """A Keras optimizer by its name in lower case; the other keys are its parameters."""

    use: Text = "adamw"


class EarlyStoppingConfig(_Section):
    """Stop when `monitor`, a loss, has not improved for `patience` epochs."""

    monitor: Text = "val_loss"
    patience: Positive = 8

    @pydantic.field_validator("monitor")
    @classmethod
    def _is_a_loss(cls, monitor: str) -> str:
        if not re.fullmatch(r"(val_)?(\w+_)?loss", monitor):
            raise ValueError(
                f"expected a loss, of which less is better, as val_loss or val_caption_loss; found {monitor!r}"
            )
        return monitor


class TrainingConfig(_Section):
    """How the network is trained.

    Attributes:
        weighting: how heads are weighed against one another beside their `weight`; see `mmstream.models.loss_weights`.
        schedule: "cosine" lets the learning rate fall to zero over all epochs, "constant" keeps it.
        precision: dtype policy of Keras.
        modality_dropout: probability with which a field is hidden from fusions during training.
        steps_per_epoch: stop each epoch after so many batches; None for all.
        strategy: "mirrored" shares each batch out among all GPUs of this machine (without one, among its virtual CPU
            devices), every one of which holds the whole network; "single" trains on one device.
        jit_compile: compile training with XLA, which pays on GPUs.
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
    steps_per_epoch: Positive | None = None
    strategy: Literal["single", "mirrored"] = "single"
    jit_compile: bool = False


class Config(_Section):
    """The whole file. Read one with `config_file.load_config`.

    Attributes:
        golden: how many raw records travel with the examples and the model, to prove later that nothing has changed.
        resume: how a rerun sees that a record has changed: by the columns that are read ("values"), also by size and
            time of its files ("metadata"), or by their bytes ("content").
    """

    source: SourceConfig
    split: SplitConfig = SplitConfig()
    fields: dict[str, FieldConfig]
    model: ModelConfig
    golden: Annotated[int, pydantic.Field(ge=0, le=64)] = 8
    resume: Literal["values", "metadata", "content"] = "content"
    training: TrainingConfig = TrainingConfig()

    @pydantic.model_validator(mode="after")
    def _fill_in(self) -> Config:
        """Resolve what is said by leaving it out: a field's column and a head's target are its own name."""
        fields = {
            name: field if field.column or field.columns else field.model_copy(update={"column": name})
            for name, field in self.fields.items()
        }
        heads = {
            name: head if head.target else head.model_copy(update={"target": name})
            for name, head in self.model.heads.items()
        }
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "model", self.model.model_copy(update={"heads": heads}))
        return self

    @property
    def losses(self) -> dict[str, HeadConfig | ObjectiveConfig]:
        """All parts that have a loss, heads first."""
        return {**self.model.heads, **self.model.objectives}

    def reads(self, head: HeadConfig) -> tuple[str, ...]:
        """The fields that a head reads, directly or through a fusion."""
        if head.reads == FUSED:
            return tuple(sorted(self.model.encoders))
        return (head.reads,) if isinstance(head.reads, str) else tuple(sorted(head.reads))

    def to_yaml(self) -> str:
        """The effective config as YAML; reading it gives an equal config."""
        out = io.StringIO()
        yaml = YAML()
        yaml.default_flow_style = None
        yaml.width = 120
        yaml.dump(_quoted(self.model_dump(mode="json", exclude_unset=True)), out)
        return out.getvalue()


def parse_config(text: str) -> Config:
    """The config that a model holds: its structure is checked, its components are not imported.

    Raises:
        ConfigError: it is not a config.
    """
    try:
        document = read_yaml(text)
        if document.problems:
            raise InvalidYamlError(document.problems[0][2])
        return Config.model_validate(document.data)
    except (InvalidYamlError, pydantic.ValidationError) as error:
        raise ConfigError(f"not a valid config: {describe(error)}") from error


def _quoted(value: Any) -> Any:
    """The value with every text in quotes but plain words and paths: ruamel cannot read all that it writes."""
    if isinstance(value, dict):
        return {_quoted(key): _quoted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_quoted(item) for item in value]
    return DoubleQuotedScalarString(value) if isinstance(value, str) and not _PLAIN.fullmatch(value) else value


def needs_fusion(head: HeadConfig) -> bool:
    """Whether a head reads a fusion rather than a single field."""
    return head.reads == FUSED or not isinstance(head.reads, str)
