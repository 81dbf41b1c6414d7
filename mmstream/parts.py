"""Parts: the unit of work, commit and retry of every job.

A record belongs to the part `hash(id) mod P`. P is chosen once for an output and written to `parts/plan.json` before
anything else. How a part is read and committed: `mmstream.commits`.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import pydantic

from mmstream import files
from mmstream.json_files import load

RECORDS_PER_PART = 1000
FORMAT = 1
"""Of output directories."""
PLAN = "parts/plan.json"
"""The file that says whose directory an output is."""


class Plan(pydantic.BaseModel, frozen=True, extra="forbid"):
    """Whose directory an output is, and into how many parts it is cut.

    Attributes:
        parts: P, a power of two.
        command: that writes to it.
        format: of the directory.
    """

    parts: int = pydantic.Field(ge=1, le=1 << 24)
    command: Literal["preprocess", "label"]
    format: int = FORMAT

    @pydantic.field_validator("parts")
    @classmethod
    def _is_power_of_two(cls, parts: int) -> int:
        if parts & (parts - 1):
            raise ValueError(f"the number of parts is a power of two; found {parts}")
        return parts


def part_name(part: int) -> str:
    """The stem of a part's files.

    >>> part_name(17)
    'part-00017'
    """
    return f"part-{part:05d}"


def part_in(path: str) -> int:
    """The part of a file.

    >>> part_in("examples/train/part-00017.tfrecord.gz")
    17
    """
    return int(files.name(path).removeprefix("part-").partition(".")[0])


def part_of(key: str, parts: int) -> int:
    """The part of a record: a hash of its id (or of its origin, where it has none)."""
    data = hashlib.sha256(f"part\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(data[:8], "big") % parts


def parts_for(rows: int) -> int:
    """How many parts an output of so many rows gets: a power of two, at most about 1,000 records each.

    >>> [parts_for(n) for n in (0, 1000, 1001, 3774, 100_000)]
    [1, 1, 2, 4, 128]
    """
    parts = 1
    while parts * RECORDS_PER_PART < rows:
        parts *= 2
    return parts


def read_plan(output: str) -> Plan | None:
    """The plan of an output directory, None where there is none.

    Raises:
        MmstreamError: it is damaged.
    """
    return load(output, PLAN, Plan)
