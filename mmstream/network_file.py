"""network.keras: equal networks give equal bytes, and what is loaded are bytes that were checked, not a file's name."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from typing import Any

import numpy as np

from mmstream import plugins
from mmstream.config import Config
from mmstream.errors import MmstreamError, describe, is_out_of_memory

_CONFIG, _ABOUT, _WEIGHTS, _ASSETS = "config.json", "metadata.json", "model.weights.h5", "assets/"
_WRITTEN = (1980, 1, 1, 0, 0, 0)
"""When members of the archive were written, as far as it says: the earliest time that the format can name."""
_MODE = 0o100644
_MOST_SHOWN = 300
"""Characters of what a library says."""
_SHARED = "shared_object_id"


def network_bytes(network: Any) -> bytes:
    """A network as `network.keras`: what Keras saves, but no dates, addresses of memory, and names that it made up.

    Args:
        network: a Keras model.
    """
    from keras.src.saving import saving_lib  # the public door takes names of files alone

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
    """A saved network; imports the core's layers and the components of the config, and nothing else by name.

    Args:
        data: of network.keras.
        name: of the file, for messages.
        config: of the model.

    Raises:
        MmstreamError: a component is not installed, or the bytes are no network that `mmstream train` wrote.
    """
    from keras.src.saving import saving_lib

    from mmstream.models import layers, writing  # noqa: F401 - registers the core's layers with Keras

    _check_members(data, name)
    for encoder in config.model.encoders.values():
        plugins.find("encoder", encoder.use)
    for head in config.model.heads.values():
        plugins.find("head", head.use)
    if config.model.fusion:
        plugins.find("fusion", config.model.fusion.use)
    if config.model.imputation:
        plugins.find("objective", config.model.imputation.use)
    try:
        return saving_lib.load_model(io.BytesIO(data), compile=False, safe_mode=True)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise MmstreamError(f"the network {name} cannot be loaded: {describe(error)[:_MOST_SHOWN]}") from error


def digest_of_weights(network: Any) -> str:
    """A digest of a network's weights by their paths, as format 3 has it; states of random numbers do not count."""
    weights = {weight.path: weight for weight in network.weights if "seed_generator" not in weight.path}
    total = hashlib.sha256()
    for path in sorted(weights):
        total.update(path.encode())
        total.update(np.asarray(weights[path]).tobytes())
    return total.hexdigest()[:32]


def _check_members(data: bytes, name: str) -> None:
    """The archive holds what Keras reads, each once and as it is, and nothing else.

    Raises:
        MmstreamError: it does not.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise MmstreamError(f"the network {name} cannot be loaded: {describe(error)[:_MOST_SHOWN]}") from error
    names = [member.filename for member in members]
    known = {_CONFIG, _ABOUT, _WEIGHTS}
    strange = [each for each in names if each not in known and not _is_asset(each)]
    doubled = [each for each in names if names.count(each) > 1] if len(set(names)) < len(names) else []
    packed = [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]
    for problem, which in (
        ("holds", strange),
        ("holds twice", doubled),
        ("lacks", sorted(known - set(names))),
        ("has compressed", packed),
    ):
        if which:
            raise MmstreamError(
                f"the network {name} cannot be loaded: its archive {problem} {which[0][:_MOST_SHOWN]!r}, which is not "
                "how `mmstream train` writes it"
            )


def _is_asset(name: str) -> bool:
    return name.startswith(_ASSETS) and not {"", ".", ".."} & set(name.split("/")) and "\\" not in name


def _renumbered(value: Any, numbers: dict[int, int]) -> Any:
    """A layer's config with objects that are shared numbered as they come, which Keras names by their addresses."""
    if isinstance(value, list):
        return [_renumbered(item, numbers) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: numbers.setdefault(item, len(numbers)) if key == _SHARED else _renumbered(item, numbers)
        for key, item in value.items()
    }


def _without_names(data: bytes) -> bytes:
    """Weights by their paths, in order: the names of inner layers count what the process has made before, unread."""
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
