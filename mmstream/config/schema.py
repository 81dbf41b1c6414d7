"""The keys of a config, as pydantic models. `mmstream.config.loading` reads and checks the file."""

from __future__ import annotations

import dataclasses
import functools
import io
import re
from collections.abc import Collection
from typing import Annotated, Any, Literal

import pydantic
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from mmstream.config.adaptation import FOREVER, NEVER, AdaptedPart, FreezeConfig, LoraConfig
from mmstream.config.sections import Positive, Section, Text, Use, Weight
from mmstream.config.split import SplitConfig
from mmstream.config.training import TrainingConfig
from mmstream.config.yaml_lines import InvalidYamlError, read_yaml
from mmstream.errors import ConfigError, describe

FUSED = "fused"

_PLAIN = re.compile(r"[\w./][\w./-]*")


class SourceConfig(Use):
    """Where records come from.

    Attributes:
        path: file or folder, relative to the config file.
        id: the column that identifies a record; by default, the origin does.
        roots: further folders, besides the input's own, in which media may lie.
        limit: read only this many rows, spread evenly over the input; None for all.
    """

    path: Text
    id: Text | None = None
    roots: list[Text] = []
    limit: Positive | None = None


_FOLDER = "{folder}/"
"""Stands at the start of a `reference` for the folder of the file that the row is in."""


class FieldConfig(Use):
    """One field.

    Attributes:
        column: the column that it reads, if its name is not the field's.
        columns: the columns that it reads, if there are several.
        reference: the path of a media file, with {} for the value of the column: "photos/{}.jpg"; {folder} at its
            start means the folder of the file that the row is in.
    """

    column: Text = ""
    columns: Annotated[list[Text], pydantic.Field(min_length=1)] | None = None
    reference: Text | None = None

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> FieldConfig:
        if self.column and self.columns:
            raise ValueError("`column` and `columns` cannot be combined")
        return self

    @pydantic.field_validator("reference")
    @classmethod
    def _check_reference(cls, reference: str | None) -> str | None:
        if reference is not None and reference.count("{}") != 1:
            raise PydanticCustomError("reference", "expected a path with one {}, where the value goes")
        if reference is not None and _FOLDER.rstrip("/") in reference.removeprefix(_FOLDER):
            raise PydanticCustomError("reference", "{folder} is allowed only at the start of the path, followed by a /")
        return reference

    def media_reference(self, value: Any, folder: str = "") -> Any:
        """The path of the media file that a value names; a value that is neither text nor whole number stays as it is.

        Args:
            value: a value of the column.
            folder: the folder, below the input, of the file that the row is in; "" for the input's own.

        >>> field = FieldConfig(use="image", reference="{folder}/{}.png")
        >>> field.media_reference(7, "train"), field.media_reference("a")
        ('train/7.png', 'a.png')
        """
        if isinstance(value, bool) or not isinstance(value, str | int) or self.reference is None:
            return value
        start, of_folder, rest = self.reference.rpartition(_FOLDER)
        return f"{folder}/" * bool(of_folder and folder) + (start + rest).replace("{}", str(value).strip())

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that the field reads."""
        return tuple(self.columns) if self.columns else (self.column,)

    @property
    def parameters(self) -> dict[str, Any]:
        """The component's own parameters, and `columns` if it reads several."""
        return {**super().parameters, **({"columns": self.columns} if self.columns else {})}


class FusionConfig(Use):
    """A fusion."""


class EncoderConfig(AdaptedPart, Use):
    """An encoder; `freeze`, `learning_rate_scale` and `adapt` are about its pretrained part, its backbone.

    Attributes:
        freeze: True by default for an encoder with a backbone; others have nothing to freeze.
        adapt: what is trained in a frozen backbone.
    """

    adapt: LoraConfig | None = None


class _WeightedConfig(Use):
    """A component that adds a loss to the total: a head or an objective.

    Attributes:
        weight: α, the weight of its loss in the total.
        from_epoch: the first epoch, counted from 1, in which its loss counts.
        warm_up: the number of epochs over which its weight rises in even steps before it reaches its full value.
    """

    weight: Weight = 1.0
    from_epoch: Positive = 1
    warm_up: Annotated[int, pydantic.Field(ge=0, lt=2**31)] = 0

    def weight_in(self, epoch: int) -> float:
        """The weight in an epoch; epochs are counted from 1.

        >>> part = ObjectiveConfig(use="contrastive", weight=2.0, from_epoch=3, warm_up=1)
        >>> [part.weight_in(epoch) for epoch in (1, 2, 3, 4, 5)]
        [0.0, 0.0, 1.0, 2.0, 2.0]
        """
        steps = max(epoch - self.from_epoch + 1, 0)
        return self.weight * min(steps / (self.warm_up + 1), 1.0)

    @property
    def whole_from(self) -> int:
        """The first epoch in which the weight has its full value."""
        return self.from_epoch + self.warm_up


class HeadConfig(_WeightedConfig):
    """A head: predicts the field `target` from what it `reads`.

    Attributes:
        match: a field that it reads; the head writes several `candidates`, and labelling takes the one whose embedding
            is nearest to this field's.
        candidates: how many it writes.
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
            raise PydanticCustomError("reads", "`fused` means all fields; it cannot be in a list")
        if len(set(names)) < len(names):
            raise PydanticCustomError("reads", "a field is named twice")
        return reads


class ObjectiveConfig(_WeightedConfig):
    """A loss between named tensors."""


class ModelConfig(Section):
    """The network's parts.

    Attributes:
        width: D, the width that all parts share.
        impute: the objective whose generator imputes the embeddings that fusions read for absent fields.
        auxiliary: the weight of what each head of a fusion loses, in training, by reading each of its fields alone; it
            is a share of the head's own weight.
        wide: whether linear models of the fields are added to what heads predict.
    """

    width: Positive = 128
    encoders: dict[str, EncoderConfig]
    fusion: FusionConfig | None = None
    heads: dict[str, HeadConfig] = {}
    objectives: dict[str, ObjectiveConfig] = {}
    impute: Text | None = None
    auxiliary: Weight = 0.0
    wide: bool = False

    @property
    def imputation(self) -> ObjectiveConfig | None:
        """The objective that `impute` names."""
        return self.objectives[self.impute] if self.impute else None


@dataclasses.dataclass(frozen=True)
class _SetBy:
    """The keys of a config that were set by something other than the user; ignored when configs are compared.

    Attributes:
        tiny: keys that `--tiny` has set.
    """

    tiny: frozenset[str] = dataclasses.field(default=frozenset(), compare=False)


class Config(Section):
    """The whole config file. `mmstream.config.loading.load_config` reads one.

    Attributes:
        golden: how many golden records the examples and the model carry, to prove later that nothing has changed.
        resume: how a rerun detects that a record has changed: by the columns that are read ("values"), and also by the
            sizes and times of its files ("metadata") or by their bytes ("content").
    """

    source: SourceConfig
    split: SplitConfig = SplitConfig()
    fields: dict[str, FieldConfig]
    model: ModelConfig
    golden: Annotated[int, pydantic.Field(ge=0, le=64)] = 8
    resume: Literal["values", "metadata", "content"] = "content"
    training: TrainingConfig = TrainingConfig()
    _set_by: _SetBy = pydantic.PrivateAttr(_SetBy())

    @pydantic.field_validator("fields")
    @classmethod
    def _fill_in_columns(cls, fields: dict[str, FieldConfig]) -> dict[str, FieldConfig]:
        """Let a field that names no column read the column of its own name."""
        return {
            name: field if field.column or field.columns else field.model_copy(update={"column": name})
            for name, field in fields.items()
        }

    @pydantic.field_validator("model")
    @classmethod
    def _fill_in_targets(cls, model: ModelConfig) -> ModelConfig:
        """Let a head that names no target predict the field of its own name."""
        heads = {
            name: head if head.target else head.model_copy(update={"target": name})
            for name, head in model.heads.items()
        }
        return model.model_copy(update={"heads": heads})

    def with_tiny(self, keys: Collection[str]) -> Config:
        """Copy the config, recording that `--tiny`, not the user, has set these keys, such as "training.epochs"."""
        config = self.model_copy()
        config._set_by = _SetBy(tiny=frozenset(keys))
        return config

    def is_set_by_user(self, key: str) -> bool:
        """Whether the file or `--set` sets a key, such as "training.epochs"; defaults and `--tiny` do not count.

        >>> source, field = {"use": "jsonl", "path": "x.jsonl"}, {"use": "text"}
        >>> training = {"epochs": 3, "batch_size": 16}
        >>> config = Config(source=source, fields={"a": field}, model={"encoders": {}}, training=training)
        >>> config = config.with_tiny(["training.batch_size"])
        >>> [config.is_set_by_user(f"training.{key}") for key in ("epochs", "batch_size", "seed")]
        [True, False, False]
        """
        *sections, name = key.split(".")
        section: Any = functools.reduce(getattr, sections, self)
        return name in section.model_fields_set and key not in self._set_by.tiny

    @property
    def losses(self) -> dict[str, HeadConfig | ObjectiveConfig]:
        """All parts that have a loss, heads first."""
        return {**self.model.heads, **self.model.objectives}

    def freeze_of(self, part: str, default: FreezeConfig = NEVER) -> FreezeConfig:
        """The epochs in which a part, such as "encoders.image", does not change because `training.initialise` says so.

        Args:
            part: the part.
            default: for a part that no model is named for.
        """
        donors = (each for each in self.training.initialise if part in each.parts)
        return next((each.freeze or NEVER for each in donors), default)

    def freeze_of_backbone(self, field: str) -> FreezeConfig:
        """The epochs in which the backbone of a field's encoder does not change."""
        return self.freeze_of(f"encoders.{field}", self.model.encoders[field].freeze or FOREVER)

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
        yaml.dump(_quoted(self.model_dump(mode="json", exclude_unset=True, by_alias=True)), out)
        return out.getvalue()


def parse_config(text: str) -> Config:
    """Parse the config of a model or an output; its structure is checked, but its components are not imported.

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
    """Quote every text except plain words and paths, as ruamel cannot read back everything that it writes."""
    if isinstance(value, dict):
        return {_quoted(key): _quoted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_quoted(item) for item in value]
    return DoubleQuotedScalarString(value) if isinstance(value, str) and not _PLAIN.fullmatch(value) else value


def needs_fusion(head: HeadConfig) -> bool:
    """Whether a head reads a fusion rather than a single field."""
    return head.reads == FUSED or not isinstance(head.reads, str)
