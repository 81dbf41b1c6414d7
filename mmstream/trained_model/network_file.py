"""network.keras: equal networks are saved as equal bytes, and loaded from bytes whose checksum was checked."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from typing import Any

import numpy as np

from mmstream.config.schema import Config
from mmstream.errors import MmstreamError, describe, is_out_of_memory
from mmstream.plugins import registry
from mmstream.trained_model.model_description import MOST_SHOWN

_CONFIG, _ABOUT, _WEIGHTS, _ASSETS = "config.json", "metadata.json", "model.weights.h5", "assets/"
_WRITTEN = (1980, 1, 1, 0, 0, 0)
"""The time stamp of all members of the archive: the earliest that the format can express."""
_MODE = 0o100644
_SHARED = "shared_object_id"


def network_bytes(network: Any) -> bytes:
    """The contents of `network.keras`: as Keras saves them, but without dates, memory addresses and generated names.

    Args:
        network: a Keras model.
    """
    from keras.src.saving import saving_lib  # the public function takes only file names

    buffer = io.BytesIO()
    saving_lib.save_model(network, buffer)
    saved = zipfile.ZipFile(buffer)
    about = json.loads(saved.read(_ABOUT))
    members = {
        _ABOUT: json.dumps({"keras_version": about["keras_version"]}).encode(),
        _CONFIG: json.dumps(_renumbered(json.loads(saved.read(_CONFIG)), {})).encode(),
        _WEIGHTS: _without_names(saved.read(_WEIGHTS)),
    }
    members |= {name: saved.read(name) for name in sorted(saved.namelist()) if name.startswith(_ASSETS)}
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, _WRITTEN)
            info.external_attr = _MODE << 16
            archive.writestr(info, data)
    return written.getvalue()


def load_network(data: bytes, name: str, config: Config) -> Any:
    """Load a saved network, which may contain only the core's layers and the components of the config.

    Args:
        data: the contents of network.keras.
        name: the path of the file, for messages.
        config: the config of the model.

    Raises:
        MmstreamError: a component is not installed, or the bytes are not a network that `mmstream train` wrote.
    """
    from keras.src.saving import saving_lib

    from mmstream.models import colours, layers, wide, writing  # noqa: F401 - registers the core's layers with Keras

    _check_members(data, name)
    for encoder in config.model.encoders.values():
        registry.find("encoder", encoder.use)
    for head in config.model.heads.values():
        registry.find("head", head.use)
    if config.model.fusion:
        registry.find("fusion", config.model.fusion.use)
    if config.model.imputation:
        registry.find("objective", config.model.imputation.use)
    try:
        return saving_lib.load_model(io.BytesIO(data), compile=False, safe_mode=True)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise MmstreamError(f"the network {name} cannot be loaded: {describe(error)[:MOST_SHOWN]}") from error


def digest_of_weights(network: Any) -> str:
    """A digest of weights and their paths, as format 3 defines it, without the states of random generators."""
    weights = {weight.path: weight for weight in network.weights if "seed_generator" not in weight.path}
    total = hashlib.sha256()
    for path in sorted(weights):
        total.update(path.encode())
        total.update(np.asarray(weights[path]).tobytes())
    return total.hexdigest()[:32]


def _check_members(data: bytes, name: str) -> None:
    """Check that the archive holds the members that Keras reads, each once and uncompressed, and no others.

    Raises:
        MmstreamError: it does not.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise MmstreamError(f"the network {name} cannot be loaded: {describe(error)[:MOST_SHOWN]}") from error
    names = [member.filename for member in members]
    required = {_CONFIG, _ABOUT, _WEIGHTS}
    strange = [each for each in names if each not in required and not _is_asset(each)]
    doubled = [each for each in names if names.count(each) > 1] if len(set(names)) < len(names) else []
    packed = [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]
    for problem, which in (
        ("holds", strange),
        ("repeats", doubled),
        ("lacks", sorted(required - set(names))),
        ("compresses", packed),
    ):
        if which:
            raise MmstreamError(
                f"the network {name} cannot be loaded: its archive {problem} {which[0][:MOST_SHOWN]!r}; "
                "`mmstream train` writes no such archive"
            )


def _is_asset(name: str) -> bool:
    return name.startswith(_ASSETS) and not {"", ".", ".."} & set(name.split("/")) and "\\" not in name


def _renumbered(value: Any, numbers: dict[int, int]) -> Any:
    """A layer's config with shared objects numbered in order; Keras numbers them by memory address."""
    if isinstance(value, list):
        return [_renumbered(item, numbers) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: numbers.setdefault(item, len(numbers)) if key == _SHARED else _renumbered(item, numbers)
        for key, item in value.items()
    }


def _without_names(data: bytes) -> bytes:
    """Weights sorted by path, without the names of inner layers, which Keras numbers throughout a process."""
    import h5py

    written = io.BytesIO()
    with h5py.File(io.BytesIO(data), "r") as saved, h5py.File(written, "w") as weights:
        paths: list[str] = []
        saved.visit(paths.append)
        for path in sorted(paths):
            if isinstance(saved[path], h5py.Dataset):
                saved.copy(saved[path], weights, path)
            else:
                weights.require_group(path)
    return written.getvalue()
