"""The directory of a model; opening it checks its files before anything else reads them.

MODEL/network.keras  config.yaml  transform/  golden/  model.json  history.csv  logs/
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping
from typing import Any

from mmstream.config.schema import Config, parse_config
from mmstream.errors import MmstreamError, describe
from mmstream.preprocessing import golden
from mmstream.preprocessing.settings import fields_before
from mmstream.records.record import Record
from mmstream.trained_model.fingerprints import check_claims, fingerprints_of
from mmstream.trained_model.model_description import (
    EARLIER_FORMAT,
    FORMAT_BEFORE_SPELLING,
    MOST_SHOWN,
    check_heads,
    read_description,
)
from mmstream.trained_model.model_files import ModelFiles, check_files
from mmstream.trained_model.versions import versions_of


@dataclasses.dataclass(frozen=True)
class ModelDirectory:
    """A model as stored on disk: see `open_directory`.

    Attributes:
        path: the path of the directory.
        about: the contents of model.json.
        config: the config of the model.
        files: reads the files of the model.
        fingerprints: digests of the model's pieces, by piece, and the installed versions; {} in training.
        in_training: whether training is still writing the model, so that there is nothing yet to compare it with.
    """

    path: str
    about: dict[str, Any]
    config: Config
    files: ModelFiles
    fingerprints: dict[str, Any]
    in_training: bool = False

    @property
    def is_weakly_bound(self) -> bool:
        """Whether the fingerprint is of format 3, which does not cover everything that decides the labels."""
        return not self.in_training and self.about["format"] == EARLIER_FORMAT

    def golden_records(self) -> list[Record]:
        """The golden records; [] if the model has none.

        Raises:
            MmstreamError: they are not those that training kept.
        """
        records = golden.parse_records(self.files.read("golden/records.jsonl")) if self.about["golden"] else []
        if len(records) != self.about["golden"]:
            raise MmstreamError(f"the golden records of {self.path} are incomplete, so it cannot be verified")
        return records

    def history(self) -> list[dict[str, float]]:
        """A row for each epoch of the training: "epoch" and all that was measured in it."""
        lines = self.files.read("history.csv").decode().splitlines()
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(lines)]


def open_directory(path: str) -> ModelDirectory:
    """Open the directory of a finished model, and check everything in it but the network's weights.

    Raises:
        MmstreamError: the directory is not a model, or is damaged.
    """
    try:
        about = read_description(path)
        model_files = ModelFiles(path, about["checksums"])
        check_files(path, about)
        config = _read_config(model_files)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    check_heads(path, about, config)
    if about["format"] == EARLIER_FORMAT:
        check_claims(path, about, config)
    fingerprints = {**fingerprints_of(about, config), "versions": versions_of(config)}
    if about["format"] <= FORMAT_BEFORE_SPELLING:  # after the fingerprints, which cover the file as it is
        config = config.model_copy(update={"fields": fields_before(config.fields)})
    return ModelDirectory(path, about, config, model_files, fingerprints)


def directory_in_training(path: str, about: Mapping[str, Any]) -> ModelDirectory:
    """Open the directory of a model that training is writing.

    Args:
        path: the path of the directory.
        about: what model.json will say.

    Raises:
        MmstreamError: its config cannot be read.
    """
    model_files = ModelFiles(path, None)
    try:
        config = _read_config(model_files)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return ModelDirectory(path, dict(about), config, model_files, {}, in_training=True)


def _read_config(model_files: ModelFiles) -> Config:
    return parse_config(model_files.read("config.yaml").decode())


def _unreadable(path: str, error: Exception) -> MmstreamError:
    return MmstreamError(f"the model {path} cannot be read: {describe(error)[:MOST_SHOWN]}")
