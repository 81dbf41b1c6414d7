"""How a part is read, and committed onto what was read. Every command goes through here.

A part's files are written beside their places, under names that begin with a dot and end with the run that made them,
then `parts/next-00017.<run>.json`, which says what they are and what they were made from. From then on the part is as
good as committed: its files move to their places, and last of all its commit record, `parts/part-00017.json`, is
written; a job that finds this begun goes on with it. So a kill at any moment leaves the old part or the new one.

The rule of reading: a part whose commit record is not there was never committed. Nothing else means that. A record or
file that cannot be read ends the job; a record that is not valid ends it, too, and `mmstream repair` is the way out; a
file that is missing, or is not what was committed, is damaged, which callers are told. What is made from a part is
committed only onto the very record that was read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import pydantic

from mmstream import files, lock, worker
from mmstream.concurrency import at_once
from mmstream.disk import NOT_THERE
from mmstream.errors import DamagedFileError, MmstreamError
from mmstream.json_files import json_bytes, load, write_json
from mmstream.parts import part_name

_NEXT = re.compile(r"next-(\d{5,})(?:\.[\w.:+-]+)?\.json")
_RECORD = re.compile(r"part-(\d{5,})\.json")
ASIDE = "damaged"
"""Folder of an output to which damaged files are moved; nothing is deleted that may hold results."""
IS_NOT_THERE = "is not there"
_IS_A_FOLDER = "is a folder"
_Path = Annotated[
    str, pydantic.Field(pattern=r"^(labels|dead_letters|examples/(train|validation|test))/part-\d{5,}\.[\w.]+$")
]
_Sha256 = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, pydantic.Field(ge=0)]


class Commit(pydantic.BaseModel, frozen=True, extra="forbid"):
    """The commit record of one part; nothing in it depends on the run.

    Attributes:
        part: its number.
        fingerprint: of the model or preprocessing that made it.
        counts: records by what became of them, as {"labelled": 993, "dead_lettered": 7}.
        checksums: sha256 of each of its files, by path below the output.
        inputs: digest of the records that went in, where the part is made whole or not at all.
        parts: P, of which this is one; 0 in records of before mmstream kept it.
    """

    part: _Count
    fingerprint: str
    counts: dict[str, _Count]
    checksums: dict[_Path, _Sha256]
    inputs: str = ""
    parts: _Count = 0


class _Pending(Commit, frozen=True, extra="forbid"):
    """What `parts/next-*.json` holds: a commit that has begun.

    Attributes:
        run: that began it; "" where nothing holds the output.
        onto: digest of the commit record that it was made from, "" for none; None where it is not known, as before
            mmstream kept it.
    """

    run: str = ""
    onto: str | None = None

    @property
    def commit(self) -> Commit:
        """What is committed."""
        return Commit(**self.model_dump(exclude={"run", "onto"}))


class Contents(NamedTuple):
    """The files of a part as they lie there.

    Attributes:
        sound: bytes of those that are as they were committed, by path below the output.
        damaged: what is wrong with each of the others.
    """

    sound: dict[str, bytes]
    damaged: dict[str, str]


def recorded(output: str, part: int) -> Commit | None:
    """The commit record of a part as it stands there, its files unread; None where there is none.

    Raises:
        DamagedFileError: there is one that is not valid, so that nobody knows what the part holds.
        OSError: it cannot be read.
    """
    name = record_path(part)
    commit = load(output, name, Commit)
    if commit and commit.part != part:
        raise DamagedFileError(output, name, f"it is the record of part {commit.part}")
    return commit


def every_recorded(output: str, parts: int) -> Iterator[Commit | None]:
    """The commit records of all parts, as `recorded` gives them."""
    return at_once(lambda part: recorded(output, part), range(parts))


def read_files(output: str, commit: Commit) -> Contents:
    """The files of a part, each read once.

    Raises:
        OSError: one is there, or may be, and cannot be read.
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
    """Move what is damaged, but may hold results, to where nobody looks for any; returns its new path.

    Args:
        output: the output directory.
        path: below it.
        run: that finds it.
    """
    target = f"{ASIDE}/{run or 'once'}/{path}"
    files.move(files.join(output, path), files.join(output, target))
    return target


def damaged_files(output: str, commit: Commit) -> dict[str, str]:
    """The files of a part that are not as they were committed, and what is wrong with each; none is kept in memory.

    Raises:
        OSError: one is there, or may be, and cannot be read.
    """
    problems = {path: _problem(_checksum(files.join(output, path)), sha) for path, sha in commit.checksums.items()}
    return {path: problem for path, problem in problems.items() if problem}


def commit_part(
    output: str,
    part: int,
    fingerprint: str,
    counts: Mapping[str, int],
    made: Mapping[str, bytes | Path],
    *,
    parts: int,
    onto: Commit | None,
    inputs: str = "",
    run: str = "",
) -> Commit:
    """Put a part's files in their places, and then its commit record; what is committed so already is left alone.

    Args:
        output: the output directory.
        part: its number.
        fingerprint: of what made it.
        counts: records by what became of them.
        made: contents by path below the output; a `Path` is a finished local file, which is moved.
        parts: P.
        onto: the part's record as it was read; what is committed was made from that.
        inputs: digest of the records that went in.
        run: that must still hold the output; "" where nothing holds it.

    Raises:
        MmstreamError: another job has taken the output over, or somebody has changed the part.
        OSError: something cannot be written; the part is as it was.
    """
    checksums = {
        path: files.checksum(str(content)) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()
        for path, content in sorted(made.items())
    }
    commit = Commit(
        part=part,
        fingerprint=fingerprint,
        counts=dict(sorted(counts.items())),
        checksums=checksums,
        inputs=inputs,
        parts=parts,
    )
    _check_may_commit(output, part, onto, run)
    if commit == onto and not damaged_files(output, commit):
        return commit
    ahead = {files.beside(files.join(output, path), run): content for path, content in sorted(made.items())}
    announced = files.join(output, _next_path(part, run))
    try:
        for place, content in ahead.items():
            if isinstance(content, Path):
                files.move_in(content, place)
            else:
                files.write_bytes(place, content)
        _check_may_commit(output, part, onto, run)  # again: writing may have taken long
        write_json(announced, {**commit.model_dump(), "run": run, "onto": _digest(onto)})
    except (OSError, MmstreamError):  # a full disk, which these need not fill further
        for place in ahead:
            files.remove(place)
        raise
    try:
        _check_may_commit(output, part, onto, run)  # a job that has taken over since may not have seen the announcement
    except (OSError, MmstreamError):
        files.remove(announced)  # and nothing else: who has seen it is just moving the files
        raise
    _complete(output, commit, run)
    worker.got_on()
    return commit


def recover(output: str) -> None:
    """Finish the commits in which earlier jobs were interrupted, and remove what they left half-written.

    Raises:
        DamagedFileError: what says so is not valid, or the record of its part is not.
    """
    for name in pending(output):
        _finish(output, name)
    files.sweep(output)


def finish(output: str, part: int, run: str) -> None:
    """Finish the commit of a part that this run began, as a worker does that takes over from one that was killed.

    Raises:
        DamagedFileError: what says so is not valid, or the record of the part is not.
    """
    _finish(output, _next_path(part, run))


def pending(output: str) -> list[str]:
    """The commits that have begun and are not finished, by what says so, as "parts/next-00017.<run>.json"."""
    return [f"parts/{name}" for name in _names(output) if _NEXT.fullmatch(name)]


def part_announced(name: str) -> int:
    """The part of a commit that has begun, by what says so, as `pending` names it."""
    found = _NEXT.fullmatch(files.name(name))
    return int(found[1]) if found else -1


def check_pending(output: str, name: str) -> None:
    """What says that a commit has begun is valid.

    Raises:
        DamagedFileError: it is not.
    """
    load(output, name, _Pending)


def numbers_recorded(output: str) -> list[int]:
    """The numbers of the parts that have a commit record, valid or not, in order."""
    return sorted(int(found[1]) for found in map(_RECORD.fullmatch, _names(output)) if found)


def record_path(part: int) -> str:
    """Where the commit record of a part lies below its output."""
    return f"parts/{part_name(part)}.json"


def _names(output: str) -> list[str]:
    """What lies among the commit records, folders too."""
    return sorted({name.partition("/")[0] for name in files.list_files(files.join(output, "parts"))})


def _finish(output: str, name: str) -> None:
    """Finish a commit if it has begun.

    One that was made from another state of the part than it is in now, as its job was taken over, is given up, and so
    is one whose files are not all there, as somebody has removed them; the part stays as it is.
    """
    begun = load(output, name, _Pending)
    if begun is None:
        return
    commit, places = begun.commit, [files.join(output, path) for path in begun.checksums]
    if begun.onto in (None, _digest(recorded(output, begun.part))):
        ahead = [files.beside(place, begun.run) for place in places]
        there = zip(ahead, places, begun.checksums.values(), strict=True)
        if all(sha256 in (_checksum(one), _checksum(other)) for one, other, sha256 in there):
            _complete(output, commit, begun.run, name)
            return
    for place in places:
        files.remove(files.beside(place, begun.run))
    files.remove(files.join(output, name))


def _complete(output: str, commit: Commit, run: str, name: str = "") -> None:
    """Move a part's new files to their places, and write its commit record; what was moved already stays."""
    for path in commit.checksums:
        place = files.join(output, path)
        files.move(files.beside(place, run), place)
    write_json(files.join(output, record_path(commit.part)), commit.model_dump())
    files.remove(files.join(output, name or _next_path(commit.part, run)))


def _check_may_commit(output: str, part: int, onto: Commit | None, run: str) -> None:
    lock.check(output, run)
    if recorded(output, part) != onto:
        raise MmstreamError(f"{part_name(part)} of {output} was changed by another worker; what was made is given up")


def _digest(commit: Commit | None) -> str:
    """Tells one state of a part from all others; "" where it was never committed."""
    return hashlib.sha256(json_bytes(commit.model_dump())).hexdigest() if commit else ""


def _problem(found: str | None, sha256: str) -> str:
    """What is wrong with a file of this checksum, None where it is not there; "" if all is well."""
    if found is None:
        return IS_NOT_THERE
    if not found:
        return _IS_A_FOLDER
    return "" if found == sha256 else "is not what was committed: its checksum differs"


def _checksum(path: str) -> str | None:
    """Of a file; None where there is none, "" of a folder."""
    try:
        return files.checksum(path)
    except IsADirectoryError:
        return ""
    except NOT_THERE:
        return None
    except OSError:  # not every store says in its error that there is no such file
        if files.is_remote(path) and not files.exists(path):
            return None
        raise


def _next_path(part: int, run: str) -> str:
    return f"parts/next-{part:05d}{run and f'.{run}'}.json"
