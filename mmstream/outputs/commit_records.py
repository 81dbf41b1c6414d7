"""Commit records: what a part of an output holds, and whether its files are as they were committed.

A part was never committed if and only if its commit record, such as `parts/part-00017.json`, does not exist. A commit
record or file that cannot be read ends the job, and so does an invalid commit record, which `mmstream repair` rebuilds.
A file that is missing, or differs from what was committed, counts as damaged; callers decide what to do.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import pydantic

from mmstream.errors import DamagedFileError
from mmstream.outputs.parts import part_name
from mmstream.runtime.concurrency import at_once
from mmstream.storage import files
from mmstream.storage.disk import NOT_THERE
from mmstream.storage.json_files import load

_RECORD = re.compile(r"part-(\d{5,})\.json")
ASIDE = "damaged"
"""The folder of an output to which damaged files are moved; files that may hold results are never deleted."""
IS_NOT_THERE = "is not there"
_IS_A_FOLDER = "is a folder"
_Path = Annotated[
    str, pydantic.Field(pattern=r"^(labels|dead_letters|examples/(train|validation|test))/part-\d{5,}\.[\w.]+$")
]
_Sha256 = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, pydantic.Field(ge=0)]


class Commit(pydantic.BaseModel, frozen=True, extra="forbid"):
    """The commit record of a part; nothing in it depends on the run.

    Attributes:
        part: the part's number.
        fingerprint: the fingerprint of the model or preprocessing that made it.
        counts: how many records had each outcome, such as {"labelled": 993, "dead_lettered": 7}.
        checksums: the sha256 of each of its files, by path below the output.
        inputs: a digest of the records that the part was made from; "" for labels.
        parts: P, the number of parts; 0 in commit records made before mmstream kept it.
    """

    part: _Count
    fingerprint: str
    counts: dict[str, _Count]
    checksums: dict[_Path, _Sha256]
    inputs: str = ""
    parts: _Count = 0


class Contents(NamedTuple):
    """The files of a part as they are now.

    Attributes:
        sound: the contents of the files that are as they were committed, by path below the output.
        damaged: what is wrong with each of the others.
    """

    sound: dict[str, bytes]
    damaged: dict[str, str]


def recorded(output: str, part: int) -> Commit | None:
    """Read the commit record of a part, but not its files; return None if there is none.

    Raises:
        DamagedFileError: it is not valid, so it is unknown what the part holds.
        OSError: it cannot be read.
    """
    name = record_path(part)
    commit = load(output, name, Commit)
    if commit and commit.part != part:
        raise DamagedFileError(output, name, f"it is the record of part {commit.part}")
    return commit


def every_recorded(output: str, parts: int) -> Iterator[Commit | None]:
    """Read the commit records of all parts, as `recorded` does."""
    return at_once(lambda part: recorded(output, part), range(parts))


def read_files(output: str, commit: Commit) -> Contents:
    """Read each file of a part once.

    Raises:
        OSError: one exists, or may exist, and cannot be read.
    """
    contents = Contents({}, {})
    for path, sha256 in commit.checksums.items():
        try:
            data = files.read_if_there(files.join(output, path))
        except IsADirectoryError:
            contents.damaged[path] = _IS_A_FOLDER
            continue
        problem = _problem(None if data is None else hashlib.sha256(data).hexdigest(), sha256)
        if problem or data is None:
            contents.damaged[path] = problem
        else:
            contents.sound[path] = data
    return contents


def put_aside(output: str, path: str, run: str) -> str:
    """Move a damaged file, which may still hold results, to `damaged/`; returns its new path.

    Args:
        output: the output directory.
        path: the file's path below it.
        run: the run that found it.
    """
    target = f"{ASIDE}/{run or 'once'}/{path}"
    files.move(files.join(output, path), files.join(output, target))
    return target


def damaged_files(output: str, commit: Commit) -> dict[str, str]:
    """Find the damaged files of a part, and what is wrong with each, without keeping their contents.

    Raises:
        OSError: one exists, or may exist, and cannot be read.
    """
    problems = {
        path: _problem(checksum_if_there(files.join(output, path)), sha) for path, sha in commit.checksums.items()
    }
    return {path: problem for path, problem in problems.items() if problem}


def numbers_recorded(output: str) -> list[int]:
    """Return the numbers of the parts that have a commit record, valid or not, in order."""
    return sorted(int(match[1]) for match in map(_RECORD.fullmatch, names_in_parts(output)) if match)


def record_path(part: int) -> str:
    """Return the path of a part's commit record, relative to the output."""
    return f"parts/{part_name(part)}.json"


def names_in_parts(output: str) -> list[str]:
    """Return the names of the files and folders in `parts/`."""
    return sorted({name.partition("/")[0] for name in files.list_files(files.join(output, "parts"))})


def _problem(actual: str | None, committed: str) -> str:
    """Say what is wrong with a file, given its checksum from `checksum_if_there`; "" if nothing is."""
    if actual is None:
        return IS_NOT_THERE
    if not actual:
        return _IS_A_FOLDER
    return "" if actual == committed else "is not what was committed: its checksum differs"


def checksum_if_there(path: str) -> str | None:
    """Return the checksum of a file; None if there is no file, "" for a folder."""
    try:
        return files.checksum(path)
    except IsADirectoryError:
        return ""
    except NOT_THERE:
        return None
    except OSError:  # the errors of some stores do not say that there is no such file
        if files.is_remote(path) and not files.exists(path):
            return None
        raise
