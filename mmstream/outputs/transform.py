"""The fitted transform in an output of `mmstream preprocess`, and the fingerprint of the preprocessing."""

from __future__ import annotations

import hashlib

from mmstream.config.schema import Config
from mmstream.outputs import lock, ownership
from mmstream.plugins import registry
from mmstream.preprocessing.field_assets import assets_of
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.preprocessing.settings import settings_of
from mmstream.records.record import digest_of
from mmstream.storage import files

_ASSETS = "transform_fn/assets/"


def install_transform(config: Config, directory: str, output: str, holder: str) -> str:
    """Install a fitted transform in an output unless an equal one is there; returns the preprocessing's fingerprint.

    Args:
        config: the config of the fields.
        directory: the directory that `AnalyseColumns` wrote to; "" for a config without cheap fields.
        output: the output directory.
        holder: the run that must hold the output (`mmstream.outputs.lock`); "" if none must.
    """
    paths = [path for path in files.list_files(directory) if path != "filled.json"] if directory else []
    assets = {path: files.checksum(files.join(directory, path)) for path in paths if path.startswith(_ASSETS)}
    preprocessor = Preprocessor(config.fields, directory)
    statistics = {
        name: {
            key: value for key, value in fitted.statistics.items() if key not in preprocessor.fields[name].descriptive
        }
        for name, fitted in preprocessor.fitted.items()
    }
    of_fields = assets_of(preprocessor.all_fields)
    assets |= {path: hashlib.sha256(data).hexdigest() for path, data in of_fields.items()}
    fingerprint = digest_of([assets, statistics, settings_of(config.fields), field_versions(config)])
    marker = _marker(output)
    if fingerprint_of(output) == fingerprint and _is_as_written(output):
        return fingerprint
    lock.check(output, holder)
    files.remove(marker)
    if files.exists(files.join(output, "transform")):
        files.remove_folder(files.join(output, "transform"))
    for path in paths:
        files.write_bytes(files.join(output, "transform", path), files.read_bytes(files.join(directory, path)))
    for path, data in of_fields.items():
        files.write_bytes(files.join(output, "transform", path), data)
    files.write_bytes(marker, fingerprint.encode())
    return fingerprint


def _is_as_written(output: str) -> bool:
    """Return whether an output's transform is still what the last completed run wrote, if there was such a run."""
    wrote = ownership.read_summary(output, "preprocess").get("transform")
    return wrote is None or wrote == ownership.transform_files(output)


def fingerprint_of(output: str) -> str | None:
    """Read the fingerprint of the preprocessing in `transform/`; None if there is none."""
    marker = _marker(output)
    return files.read_bytes(marker).decode() if files.exists(marker) else None


def _marker(output: str) -> str:
    """Return the path of the file with the transform's fingerprint, which is written last."""
    return files.join(output, "transform", "fingerprint")


def field_versions(config: Config) -> dict[str, str]:
    """Return the versions of the distributions that the fields come from."""
    used = [registry.component("field", field.use) for field in config.fields.values()]
    return dict(sorted({component.distribution: component.version for component in used}.items()))
