"""Parts: the unit of work, commit and retry of every job.

A record belongs to the part `hash(id) mod P`. P is chosen once for an output and written to `parts/plan.json` before
anything else. `mmstream.outputs.commit_records` reads parts; `mmstream.outputs.commits` commits them.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import pydantic

from mmstream.records.record import DeadLetter, Record
from mmstream.storage import files
from mmstream.storage.json_files import load

RECORDS_PER_PART = 1000
FORMAT = 1
"""The format of output directories."""
PLAN = "parts/plan.json"
"""The file that says which command an output belongs to, and its number of parts."""


class Plan(pydantic.BaseModel, frozen=True, extra="forbid"):
    """The plan of an output: which command it belongs to, and into how many parts it is divided.

    Attributes:
        parts: P, a power of two.
        command: the command that writes to it.
        format: the format of the directory.
    """

    parts: int = pydantic.Field(ge=1, le=1 << 24)
    command: Literal["preprocess", "label"]
    format: int = FORMAT

    @pydantic.field_validator("parts")
    @classmethod
    def _is_power_of_two(cls, parts: int) -> int:
        if parts & (parts - 1):
            raise ValueError(f"the number of parts must be a power of two; found {parts}")
        return parts


def part_name(part: int) -> str:
    """Return the stem of the names of a part's files.

    >>> part_name(17)
    'part-00017'
    """
    return f"part-{part:05d}"


def part_in(path: str) -> int:
    """Return the part that a file belongs to.

    >>> part_in("examples/train/part-00017.tfrecord.gz")
    17
    """
    return int(files.name(path).removeprefix("part-").partition(".")[0])


def part_of(key: str, parts: int) -> int:
    """Return the part of a record: a hash of its id, or of its origin if it has no id."""
    data = hashlib.sha256(f"part\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(data[:8], "big") % parts


def parts_for(rows: int) -> int:
    """Choose the number of parts for an output of `rows` rows: a power of two, with at most about 1,000 records each.

    >>> [parts_for(n) for n in (0, 1000, 1001, 3774, 100_000)]
    [1, 1, 2, 4, 128]
    """
    parts = 1
    while parts * RECORDS_PER_PART < rows:
        parts *= 2
    return parts


def read_plan(output: str) -> Plan | None:
    """Read the plan of an output directory; None if there is none.

    Raises:
        MmstreamError: it is damaged.
    """
    return load(output, PLAN, Plan)


def part_of_item(item: Record | DeadLetter, count: int) -> int:
    """Return the part, out of `count`, that a record or dead letter belongs to."""
    return part_of(item.id or item.origin, count)
