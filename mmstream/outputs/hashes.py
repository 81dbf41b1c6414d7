"""The similarity hashes of a part's examples, in `hashes/part-*.jsonl` of an output of `mmstream preprocess`.

They are not part of the commit: everything in them can be made again from the records. A file that is missing or
damaged, or belongs to other examples, counts as not there, and the next run makes it again.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping, Sequence

from mmstream.outputs import lock
from mmstream.outputs.parts import part_name
from mmstream.preprocessing.hashing import Hashing
from mmstream.records.record import SPLITS, json_line
from mmstream.storage import files

FOLDER = "hashes"
_HEADER = {"inputs", "hashed_with"}


@dataclasses.dataclass(frozen=True, slots=True)
class Hashed:
    """A record and its hashes.

    Attributes:
        id: its id.
        split: its split.
        digest: a digest of what was read of it.
        hashes: the similarity hash of each field that has one.
    """

    id: str
    split: str
    digest: str
    hashes: Mapping[str, bytes]


@dataclasses.dataclass(frozen=True)
class PartHashes:
    """The hashes of a part.

    Attributes:
        inputs: the digest of the records that its examples were made from, as in the commit record.
        hashed_with: the key of the `Hashing` that made them.
        records: its examples, sorted by id.
    """

    inputs: str
    hashed_with: str
    records: Sequence[Hashed]


def read(output: str, part: int, hashing: Hashing) -> PartHashes | None:
    """Read the hashes of a part; None if there are none that were made in this way.

    Raises:
        OSError: they exist, or may exist, and cannot be read.
    """
    data = files.read_if_there(_path(output, part))
    if data is None:
        return None
    try:
        header, *lines = [json.loads(line) for line in data.decode().split("\n") if line]
        if header.keys() != _HEADER or header["hashed_with"] != hashing.key:
            return None
        return PartHashes(**header, records=[_hashed(hashing, *line) for line in lines])
    except (ValueError, TypeError, AttributeError, KeyError):  # somebody has edited the file
        return None


def write(output: str, part: int, hashes: PartHashes, holder: str) -> None:
    """Write the hashes of a part.

    Raises:
        MmstreamError: another job has taken the output over.
    """
    lines = [json_line({"inputs": hashes.inputs, "hashed_with": hashes.hashed_with})]
    for record in hashes.records:
        texts = {field: base64.b64encode(value).decode() for field, value in record.hashes.items()}
        lines.append(json_line([record.id, record.split, record.digest, texts]))
    lock.check(output, holder)
    files.write_bytes(_path(output, part), "".join(f"{line}\n" for line in lines).encode())


def _hashed(hashing: Hashing, key: str, split: str, digest: str, texts: Mapping[str, str]) -> Hashed:
    hashes = {field: base64.b64decode(text, validate=True) for field, text in texts.items()}
    sizes = all(len(value) == hashing.similarities[field].size for field, value in hashes.items())
    if not (isinstance(key, str) and isinstance(digest, str) and split in SPLITS and sizes):
        raise ValueError("not a record with its split, digest and hashes")
    return Hashed(key, split, digest, hashes)


def _path(output: str, part: int) -> str:
    return files.join(output, FOLDER, f"{part_name(part)}.jsonl")
