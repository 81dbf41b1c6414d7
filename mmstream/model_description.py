"""model.json: what a model says of itself. Every key is needed, of the right type, and none is beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from mmstream import files
from mmstream.config import Config
from mmstream.errors import MmstreamError
from mmstream.interfaces import LabelType

FORMAT = 4
EARLIER_FORMAT = 3
_SHOWN = 3
"""So many of several problems are named."""

_Count = Annotated[int, pydantic.Field(ge=0)]
_Sha256 = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]
_Digest = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{32}$")]


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class _Head(_Strict):
    """What a label row says of a head: see `config.HeadConfig`."""

    target: str
    reads: list[str]
    label: LabelType
    score: LabelType
    match: str | None


class _Claims(_Strict):
    """What a model of format 3 says of its pieces."""

    weights: _Digest
    transform: _Digest
    config: _Digest
    calibration: _Digest
    batch: _Count
    versions: dict[str, str]


class _Common(_Strict):
    """What model.json says in every format.

    Attributes:
        batch: B, the number of rows that the network is given at a time.
        heads: by name.
        fused: whether the network gives a fused vector.
        calibration: by head, what `calibrate` gave.
        golden: how many golden records there are.
        epochs: of the training.
        best_epoch: whose weights these are.
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


class Description(_Common):
    """model.json.

    Attributes:
        format: of the model.
        versions: of the distributions that it was trained with.
    """

    format: Literal[4]
    versions: dict[str, str]


class EarlierDescription(_Common):
    """model.json of format 3."""

    format: Literal[3]
    fingerprints: _Claims


def read_description(path: str) -> dict[str, Any]:
    """What model.json says, with every key and of the right types.

    Raises:
        MmstreamError: it is not there, or not what `mmstream train` writes.
    """
    place = files.join(path, "model.json")
    try:
        check_plain(path, "model.json")
        found = json.loads(files.read_bytes(place), object_pairs_hook=_without_doubles)
    except (OSError, ValueError, RecursionError) as error:
        raise MmstreamError(f"{path} is not a model that `mmstream train` finished: {error}") from error
    number = found.get("format") if isinstance(found, dict) else None
    if type(number) is not int or number not in (FORMAT, EARLIER_FORMAT):
        raise MmstreamError(
            f"{path} has format {str(number)[:20]!r}; this mmstream reads formats {EARLIER_FORMAT} and {FORMAT}"
        )
    return validated(found, path)


def check_heads(path: str, about: Mapping[str, Any], config: Config) -> None:
    """model.json speaks of the heads that the config has, and of fields that it has.

    Raises:
        MmstreamError: it does not.
    """
    heads: Mapping[str, Any] = about["heads"]
    sound = heads.keys() == config.model.heads.keys() == about["calibration"].keys() and all(
        head["target"] in config.fields
        and set(head["reads"]) <= set(config.model.encoders)
        and head["match"] in (None, *config.model.encoders)
        for head in heads.values()
    )
    if not sound:
        raise MmstreamError(f"model.json of the model {path} speaks of other heads or fields than its config.yaml")


def validated(found: Mapping[str, Any], path: str) -> dict[str, Any]:
    """What model.json says, or is to say, checked.

    Raises:
        MmstreamError: a key is missing, too many, or of another type.
    """
    kind = EarlierDescription if found["format"] == EARLIER_FORMAT else Description
    try:
        return kind.model_validate(found).model_dump()
    except pydantic.ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc']))[:80]}: {each['msg'].lower()}" for each in error.errors()]
        more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
        raise MmstreamError(
            f"model.json of the model {path} is not what `mmstream train` writes: {'; '.join(problems[:_SHOWN])}{more}"
        ) from error


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("model.json has a key twice")
    return found


def check_plain(path: str, name: str) -> None:
    """A file that is there is one that ends: not a device, FIFO, socket or folder."""
    place = files.join(path, name)
    if not files.is_remote(place) and files.exists(place) and not Path(place).is_file():
        raise MmstreamError(f"{name} of the model {path} is not a plain file")
