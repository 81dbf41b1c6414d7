"""The keys that keep near-equal records in one split, in `near.json` of an output of `mmstream preprocess`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from mmstream.config.schema import SplitConfig
from mmstream.errors import MmstreamError
from mmstream.outputs import lock
from mmstream.preprocessing.hashing import Hashing
from mmstream.preprocessing.similar import components, similar
from mmstream.storage import files

_FILE = "near.json"


class Keyed(NamedTuple):
    """The key that decides on a record's split (`mmstream.inputs.splits.key_of`), and its similarity hashes."""

    key: str
    hashes: Mapping[str, bytes]


def near_keys(records: Iterable[Keyed], split: SplitConfig, hashing: Hashing) -> dict[str, str]:
    """The key that takes the place of each record's own; keys that stay are left out.

    Records are linked if values of a field are near-equal, or if their keys are equal. All records that are linked,
    also by way of others, get the smallest of their keys.

    Args:
        records: the records, in any order.
        split: names the fields that are compared.
        hashing: how they were hashed.
    """
    every = sorted(records, key=lambda record: record.key)
    names, own = np.unique(np.array([record.key for record in every], object), return_inverse=True)
    labels = np.arange(len(names))
    for field, similarity in hashing.similarities.items():
        if split.keeps(field):
            values = [record.hashes.get(field) for record in every]
            groups = similar(values, similarity, np.zeros(len(every), np.uint8)).groups
            labels = components(np.stack([own, own[groups]]), labels)
    return {names[place]: names[label] for place, label in enumerate(labels) if label != place}


def install(output: str, keys: Mapping[str, str], holder: str) -> None:
    """Write keys to an output.

    Raises:
        MmstreamError: another job has taken the output over.
    """
    lock.check(output, holder)
    files.write_bytes(files.join(output, _FILE), f"{json.dumps(dict(sorted(keys.items())), indent=1)}\n".encode())


def read(output: str) -> dict[str, str]:
    """Read the keys of an output.

    Raises:
        MmstreamError: they are missing or damaged.
    """
    data = files.read_if_there(files.join(output, _FILE))
    try:
        keys = json.loads(data or b"")
    except ValueError:
        keys = None
    if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys.values()):
        raise MmstreamError(
            f"{files.join(output, _FILE)}, which says which records stay together, is missing or damaged; run "
            "`mmstream preprocess` again, which rewrites it"
        )
    return keys
