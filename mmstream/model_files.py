"""The files of a model, which are as model.json says, and the fingerprint, which is of all of them and of model.json.

Nothing that model.json says is trusted for being said: the digests that a fingerprint is made of are computed from the
bytes that were read. Models of the format before claim some of theirs, and are opened by the rules of their time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmstream import files
from mmstream.config import Config
from mmstream.errors import MmstreamError
from mmstream.json_files import write_json
from mmstream.model_description import EARLIER_FORMAT, FORMAT, check_plain, validated
from mmstream.records import strong_digest_of

PIECES = {
    "network": "the network (layers, wiring, weights)",
    "heads": "the heads (what is predicted, from which fields)",
    "weights": "the weights",
    "transform": "the fitted preprocessing (vocabularies, scaling)",
    "config": "the sections `fields` and `model` of the config",
    "calibration": "the calibration (thresholds)",
    "batch": "the batch size",
    "golden": "the golden records",
    "engines": "the engines",
    "training": "what is kept of the training (epochs, history, versions, the rest of the config)",
}
"""What a fingerprint is made of, beside versions. The weights by themselves are a piece of models of format 3 alone."""
_SINGLE = ("network.keras", "config.yaml", "history.csv")
_FOLDERS = ("engines", "golden", "transform")
_NEEDED = {"network.keras", "config.yaml"}
_GOLDEN = {"golden/records.jsonl", "golden/expected.npz"}
_SHOWN = 3
"""So many of several files are named."""


class ModelFiles:
    """The files of a model, each of which must be what model.json says.

    Args:
        path: the model's directory.
        checksums: sha256 by path below it; None in training, which is about to write them.
    """

    def __init__(self, path: str, checksums: Mapping[str, str] | None) -> None:
        self._path = path
        self._checksums = checksums

    def read(self, name: str) -> bytes:
        """The bytes of a file, which are those that were checked: they are read once.

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
        """The files of a folder, which a library has opened by their names meanwhile, are still what was checked.

        Raises:
            MmstreamError: one is not.
        """
        if self._checksums is not None:
            prefix = f"{folder}/"
            wrote = {name: sha256 for name, sha256 in self._checksums.items() if name.startswith(prefix)}
            _compare(self._path, wrote, _files_below(self._path, folder))


def check_files(path: str, about: Mapping[str, Any]) -> None:
    """The files of a model are what training wrote.

    Raises:
        MmstreamError: one differs, is missing, or is one too many.
    """
    wrote: Mapping[str, str] = about["checksums"]
    needed = _NEEDED | (_GOLDEN if about["golden"] else set())
    if missing := sorted(needed - wrote.keys()):
        raise MmstreamError(f"the model {path} is not whole: its model.json has no checksum of {', '.join(missing)}")
    _compare(path, wrote, _files_of(path))


def write_model_json(path: str, about: Mapping[str, Any]) -> None:
    """Write the last file of a model, without which it does not count; it has the checksums of all others.

    Args:
        path: the model's directory.
        about: all that model.json says but `format` (by default the newest) and `checksums`.

    Raises:
        MmstreamError: it is not all there, or of other types.
    """
    checksums = {name: files.checksum(files.join(path, name)) for name in _files_of(path)}
    whole = {"format": FORMAT, **about, "checksums": checksums}
    write_json(files.join(path, "model.json"), validated(whole, path))


def fingerprints_of(about: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Digests of a model's pieces, by piece; between them they cover every file and every key of model.json.

    Args:
        about: model.json, whose checksums the files have.
        config: what config.yaml says.
    """
    if about["format"] == EARLIER_FORMAT:
        return dict(about["fingerprints"])
    checksums: Mapping[str, str] = about["checksums"]
    single = {name: checksums.get(name) for name in _SINGLE}
    rest = {key: about[key] for key in ("format", "epochs", "best_epoch", "versions")}
    return {
        "network": _digest(single["network.keras"]),
        "heads": _digest([about["heads"], about["fused"]]),
        "transform": _digest(_below("transform", checksums)),
        "config": digest_of_config(config),
        "calibration": _digest(about["calibration"]),
        "batch": _digest(about["batch"]),
        "golden": _digest([about["golden"], _below("golden", checksums)]),
        "engines": _digest(_below("engines", checksums)),
        "training": _digest([rest, single["config.yaml"], single["history.csv"]]),
    }


def check_claims(path: str, about: Mapping[str, Any], config: Config) -> None:
    """The pieces of a model of format 3 are what it claims; its weights are compared when they are loaded.

    Raises:
        MmstreamError: one is not.
    """
    found = {
        "transform": digest_of_transform(about["checksums"]),
        "config": digest_of_config(config),
        "calibration": strong_digest_of(about["calibration"]),
        "batch": about["batch"],
    }
    for piece, digest in found.items():
        if about["fingerprints"][piece] != digest:
            raise MmstreamError(f"the fingerprint of the model {path} is not its own: {PIECES[piece]} differ")


def digest_of_transform(checksums: Mapping[str, str]) -> str:
    """A digest of a fitted transform by the checksums of a model's files, as format 3 has it."""
    files_of_it = _below("transform", checksums)
    return strong_digest_of({path: sha for path, sha in files_of_it.items() if not path.endswith("fingerprint")})


def digest_of_config(config: Config) -> str:
    """A digest of the sections of a config that decide what a model says; keys left at their defaults do not count."""
    return strong_digest_of(config.model_dump(mode="json", include={"fields", "model"}, exclude_defaults=True))


def what_differs(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what two models differ, by their `fingerprints`: a line each."""
    if ("network" in then) != ("network" in now):  # the digests of most pieces are of other things in either
        found = ["the format: one is of an earlier mmstream, so that most of their pieces cannot be compared"]
        found += [PIECES["config"]] if then.get("config") != now.get("config") else []
    else:
        found = [name for piece, name in PIECES.items() if then.get(piece) != now.get(piece)]
    before, after = then.get("versions", {}), now.get("versions", {})
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            found.append(f"{name} {before.get(name, 'none')} → {after.get(name, 'none')}")
    return found


def _digest(value: Any) -> str:
    """Half of the SHA-256 of what JSON can hold, as the one text that it has: keys sorted, numbers as Python's."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]


def _below(folder: str, checksums: Mapping[str, str]) -> dict[str, str]:
    return {path: sha256 for path, sha256 in checksums.items() if path.startswith(f"{folder}/")}


def _compare(path: str, wrote: Mapping[str, str], found: Iterable[str]) -> None:
    there = set(found)
    if missing := sorted(wrote.keys() - there):
        raise MmstreamError(f"the model {path} is not whole: {_some(missing)} cannot be read")
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
    """The files that a model is made of, beside model.json."""
    for name in _SINGLE:
        if files.exists(files.join(path, name)):
            check_plain(path, name)
            yield name
    for folder in _FOLDERS:
        yield from _files_below(path, folder)


def _files_below(path: str, folder: str) -> Iterator[str]:
    """The files in a folder of a model, each of which can be seen: libraries would open hidden ones and follow links.

    Raises:
        MmstreamError: one is hidden, not a plain file, or in a folder that is a link.
    """
    place = files.join(path, folder)
    if files.is_remote(path):
        names = [name.removeprefix(f"{place}/") for name in files.match(f"{place}/**")]
        strange = [name for name in names if any(part.startswith(".") for part in name.split("/"))]
    else:
        names, strange = _walked(place)
    if strange:
        raise MmstreamError(
            f"the model {path} holds {folder}/{_some(sorted(strange))}: hidden files, links to folders and what is not "
            "a plain file are no part of a model; remove them"
        )
    yield from (f"{folder}/{name}" for name in sorted(names))


def _walked(place: str) -> tuple[list[str], list[str]]:
    """The plain files below a local folder, and whatever else is there but folders, by their paths below it."""
    plain, strange = [], []
    for folder, folders, names in os.walk(place, onerror=_raise):
        inner = [Path(folder, name) for name in folders]
        outer = [Path(folder, name) for name in names]
        strange += [each for each in inner if each.name.startswith(".") or each.is_symlink()]
        strange += [each for each in outer if each.name.startswith(".") or not each.is_file()]
        plain += outer
    return [str(each.relative_to(place)) for each in plain], [str(each.relative_to(place)) for each in strange]


def _raise(error: OSError) -> None:
    """A folder that cannot be listed is no empty one; one that is not there is."""
    if not isinstance(error, FileNotFoundError):
        raise error
