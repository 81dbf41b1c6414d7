"""The files of a model: a file is used only if its checksum is the one in model.json."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmstream.errors import MmstreamError
from mmstream.storage import files
from mmstream.storage.json_files import write_json
from mmstream.trained_model.model_description import FORMAT, check_plain, validated

_SINGLE = ("network.keras", "config.yaml", "history.csv")
_FOLDERS = ("engines", "golden", "transform")
_NEEDED = {"network.keras", "config.yaml"}
_GOLDEN = {"golden/records.jsonl", "golden/expected.npz"}
_SHOWN = 3
"""How many files a message names."""


class ModelFiles:
    """The files of a model, each of which must have the checksum that model.json states.

    Args:
        path: the model's directory.
        checksums: sha256 by path below it; None in training, which is about to write them.
    """

    def __init__(self, path: str, checksums: Mapping[str, str] | None) -> None:
        self._path = path
        self._checksums = checksums

    def read(self, name: str) -> bytes:
        """Read a file, once, and check that the bytes that are returned have its checksum.

        Raises:
            MmstreamError: it cannot be read, or has been changed.
        """
        try:
            data = files.read_bytes(files.join(self._path, name))
        except OSError as error:
            raise MmstreamError(f"{name} of the model {self._path} cannot be read: {error}") from error
        if self._checksums is not None and hashlib.sha256(data).hexdigest() != self._checksums.get(name):
            raise _changed(self._path, name)
        return data

    def check_again(self, folder: str) -> None:
        """Check that the files of a folder, which a library has opened itself, still have the checksums of model.json.

        Raises:
            MmstreamError: one does not.
        """
        if self._checksums is not None:
            prefix = f"{folder}/"
            wrote = {name: sha256 for name, sha256 in self._checksums.items() if name.startswith(prefix)}
            _compare(self._path, wrote, _files_below(self._path, folder))


def check_files(path: str, about: Mapping[str, Any]) -> None:
    """Check that the files of a model are those that training wrote.

    Raises:
        MmstreamError: one has changed, is missing, or was added.
    """
    wrote: Mapping[str, str] = about["checksums"]
    needed = _NEEDED | (_GOLDEN if about["golden"] else set())
    if missing := sorted(needed - wrote.keys()):
        raise MmstreamError(f"the model {path} is incomplete: its model.json has no checksum for {', '.join(missing)}")
    _compare(path, wrote, _files_of(path))


def write_model_json(path: str, about: Mapping[str, Any]) -> None:
    """Write the last file of a model, which completes it and holds the checksums of all others.

    Args:
        path: the model's directory.
        about: the keys of model.json, without `checksums`; `format` is the newest by default.

    Raises:
        MmstreamError: a key is missing, or of another type.
    """
    checksums = {name: files.checksum(files.join(path, name)) for name in _files_of(path)}
    whole = {"format": FORMAT, **about, "checksums": checksums}
    write_json(files.join(path, "model.json"), validated(whole, path))


def _compare(path: str, wrote: Mapping[str, str], names: Iterable[str]) -> None:
    """Check that the files with these names are the ones that training wrote, and have the same checksums."""
    there = set(names)
    if missing := sorted(wrote.keys() - there):
        raise MmstreamError(f"the model {path} is incomplete: {_some(missing)} cannot be read")
    if more := sorted(there - wrote.keys()):
        raise MmstreamError(f"the model {path} holds {_some(more)}, which training did not write")
    for name in sorted(there):
        try:
            sha256 = files.checksum(files.join(path, name))
        except OSError as error:
            raise MmstreamError(f"{name} of the model {path} cannot be read: {error}") from error
        if sha256 != wrote[name]:
            raise _changed(path, name)


def _changed(path: str, name: str) -> MmstreamError:
    return MmstreamError(f"{name} of the model {path} is not what training wrote: its checksum differs")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:200] for name in names[:_SHOWN]) + more


def _files_of(path: str) -> Iterator[str]:
    """The files of a model other than model.json."""
    for name in _SINGLE:
        if files.exists(files.join(path, name)):
            check_plain(path, name)
            yield name
    for folder in _FOLDERS:
        yield from _files_below(path, folder)


def _files_below(path: str, folder: str) -> Iterator[str]:
    """The files in a folder of a model, none of them hidden: libraries would open hidden files and follow links.

    Raises:
        MmstreamError: one is hidden, not a plain file, or in a folder that is a link.
    """
    place = files.join(path, folder)
    if files.is_remote(path):
        names = [name.removeprefix(f"{place}/") for name in files.remote_matches(f"{place}/**")]
        strange = [name for name in names if any(part.startswith(".") for part in name.split("/"))]
    else:
        names, strange = _walked(place)
    if strange:
        raise MmstreamError(
            f"the model {path} holds {folder}/{_some(sorted(strange))}: hidden files, links to folders and "
            "anything that is not a plain file do not belong in a model; remove them"
        )
    yield from (f"{folder}/{name}" for name in sorted(names))


def _walked(place: str) -> tuple[list[str], list[str]]:
    """The plain files below a local folder, and whatever else is there except folders, by their paths below it."""
    plain, strange = [], []
    for folder, folders, names in os.walk(place, onerror=_raise):
        inner = [Path(folder, name) for name in folders]
        outer = [Path(folder, name) for name in names]
        strange += [each for each in inner if each.name.startswith(".") or each.is_symlink()]
        strange += [each for each in outer if each.name.startswith(".") or not each.is_file()]
        plain += outer
    return [str(each.relative_to(place)) for each in plain], [str(each.relative_to(place)) for each in strange]


def _raise(error: OSError) -> None:
    """Raise the error of a folder that cannot be listed; a folder that does not exist counts as empty."""
    if not isinstance(error, FileNotFoundError):
        raise error
