"""model.json, which describes a model. Every key is required, of the right type, and no others are allowed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from mmstream.config.schema import Config
from mmstream.errors import MmstreamError
from mmstream.interfaces import LabelType
from mmstream.storage import files

FORMAT = 6
FORMAT_BEFORE_ORIGINS = 5
"""The same as the newest format, except that it does not say where weights come from."""
FORMAT_BEFORE_SPELLING = 4
"""The same as the next format, except that newer parameters of fields had the values in `parameters_before`."""
EARLIER_FORMAT = 3
MOST_SHOWN = 300
"""How many characters a message quotes from a library's error or a file of the model."""
_SHOWN = 3
"""How many problems a message names."""

_Count = Annotated[int, pydantic.Field(ge=0)]
_Sha256 = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]
_Digest = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{32}$")]


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class _Head(_Strict):
    """A head, and the columns of its labels: see `mmstream.config.schema.HeadConfig`."""

    target: str
    reads: list[str]
    label: LabelType
    score: LabelType
    match: str | None


class _Claims(_Strict):
    """The digests that a model of format 3 states for its pieces."""

    weights: _Digest
    transform: _Digest
    config: _Digest
    calibration: _Digest
    batch: _Count
    versions: dict[str, str]


class _Common(_Strict):
    """The keys of model.json in every format.

    Attributes:
        batch: B, the number of rows that the network is given at a time.
        heads: each head, by name.
        fused: whether the network gives a fused vector.
        calibration: the result of `calibrate`, by head.
        golden: how many golden records there are.
        epochs: how many epochs the training had.
        best_epoch: the epoch that the weights come from.
        checksums: sha256 of each file beside model.json, by path below the model.
    """

    batch: Annotated[int, pydantic.Field(gt=0)]
    heads: dict[str, _Head]
    fused: bool
    calibration: dict[str, dict[str, pydantic.JsonValue]]
    golden: _Count
    epochs: _Count
    best_epoch: _Count
    checksums: dict[str, _Sha256]


class _DescriptionWithoutOrigins(_Common):
    """model.json of formats 4 and 5.

    Attributes:
        format: the number of the format.
        versions: the versions of the distributions that the model was trained with.
    """

    format: Literal[4, 5]
    versions: dict[str, str]


class Description(_Common):
    """model.json of format 6.

    Attributes:
        format: the number of the format.
        versions: the versions of the distributions that the model was trained with.
        origins: where the weights of parts come from, by part: what a backbone says, or the fingerprint of a model.
    """

    format: Literal[6]
    versions: dict[str, str]
    origins: dict[str, str]


class EarlierDescription(_Common):
    """model.json of format 3."""

    format: Literal[3]
    fingerprints: _Claims


def read_description(path: str) -> dict[str, Any]:
    """Read and check model.json.

    Raises:
        MmstreamError: it does not exist, or is not what `mmstream train` writes.
    """
    place = files.join(path, "model.json")
    try:
        check_plain(path, "model.json")
        description = json.loads(files.read_bytes(place), object_pairs_hook=_without_doubles)
    except (OSError, ValueError, RecursionError) as error:
        raise MmstreamError(f"{path} is not a model that `mmstream train` finished: {error}") from error
    number = description.get("format") if isinstance(description, dict) else None
    if type(number) is not int or number not in range(EARLIER_FORMAT, FORMAT + 1):
        raise MmstreamError(
            f"{path} has format {str(number)[:20]!r}; this version of mmstream reads formats {EARLIER_FORMAT} to "
            f"{FORMAT}"
        )
    return validated(description, path)


def check_heads(path: str, about: Mapping[str, Any], config: Config) -> None:
    """Check that model.json has the heads of the config, and that they read fields of the config.

    Raises:
        MmstreamError: they do not match.
    """
    heads: Mapping[str, Any] = about["heads"]
    sound = heads.keys() == config.model.heads.keys() == about["calibration"].keys() and all(
        head["target"] in config.fields
        and set(head["reads"]) <= set(config.model.encoders)
        and head["match"] in (None, *config.model.encoders)
        for head in heads.values()
    )
    if not sound:
        raise MmstreamError(f"model.json of the model {path} does not name the heads and fields of its config.yaml")


def validated(description: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Check the contents of model.json.

    Args:
        description: as it was read, or is about to be written.
        path: the path of the model, for messages.

    Raises:
        MmstreamError: a key is missing, unknown, or of another type.
    """
    kind: type[_Common] = Description
    if description["format"] <= FORMAT_BEFORE_ORIGINS:
        kind = EarlierDescription if description["format"] == EARLIER_FORMAT else _DescriptionWithoutOrigins
    try:
        return kind.model_validate(description).model_dump()
    except pydantic.ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc']))[:80]}: {each['msg'].lower()}" for each in error.errors()]
        more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
        raise MmstreamError(
            f"model.json of the model {path} is not what `mmstream train` writes: {'; '.join(problems[:_SHOWN])}{more}"
        ) from error


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) < len(pairs):
        raise ValueError("model.json has a duplicate key")
    return keys


def check_plain(path: str, name: str) -> None:
    """Check that a file, if it exists, is plain: not a folder, nor a device, FIFO or socket, which may be endless."""
    place = files.join(path, name)
    if not files.is_remote(place) and files.exists(place) and not Path(place).is_file():
        raise MmstreamError(f"{name} of the model {path} is not a plain file")
