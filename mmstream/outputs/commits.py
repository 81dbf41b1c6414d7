"""Committing a part, completely or not at all. Every command commits here.

A part's files are first written beside their places, under names that begin with a dot and end with the run's name.
Then the announcement, `parts/next-00017.<run>.json`, is written; it names the files and the commit record that they
were made from. From then on the part is as good as committed: its files are moved to their places, and finally its
commit record, `parts/part-00017.json` (`mmstream.outputs.commit_records`), is written. A job that finds an announcement
finishes the commit, so a kill at any moment leaves either the old part or the new one. A part is committed only if its
commit record is still the one that was read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from mmstream.errors import MmstreamError
from mmstream.outputs import lock
from mmstream.outputs.commit_records import (
    Commit,
    checksum_if_there,
    damaged_files,
    names_in_parts,
    record_path,
    recorded,
)
from mmstream.outputs.parts import part_name
from mmstream.storage import files
from mmstream.storage.json_files import json_bytes, load, write_json
from mmstream.supervision import worker

_NEXT = re.compile(r"next-(\d{5,})(?:\.[\w.:+-]+)?\.json")


class _Pending(Commit, frozen=True, extra="forbid"):
    """An announcement, `parts/next-*.json`: a commit that has begun.

    Attributes:
        run: the run that began it; "" if no run holds the output.
        onto: a digest of the commit record that it was made from; "" for none; None in announcements made before
            mmstream kept it.
    """

    run: str = ""
    onto: str | None = None

    @property
    def commit(self) -> Commit:
        """The commit record to be written."""
        return Commit(**self.model_dump(exclude={"run", "onto"}))


def commit_part(
    output: str,
    part: int,
    fingerprint: str,
    counts: Mapping[str, int],
    contents: Mapping[str, bytes | Path],
    *,
    parts: int,
    onto: Commit | None,
    inputs: str = "",
    run: str = "",
) -> Commit:
    """Put a part's files in their places, and then its commit record; an equal part is left unchanged.

    Args:
        output: the output directory.
        part: the part's number.
        fingerprint: the fingerprint of the model or preprocessing that made it.
        counts: how many records had each outcome.
        contents: the contents of its files, by path below the output; a `Path` is a finished local file, which is
            moved.
        parts: P, the number of parts.
        onto: the part's commit record as it was read; None if there was none.
        inputs: a digest of the records that the part was made from.
        run: the run that must still hold the output; "" if none must.

    Raises:
        MmstreamError: another job has taken the output over, or somebody has changed the part.
        OSError: something cannot be written; the part is as it was.
    """
    checksums = {
        path: files.checksum(str(content)) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()
        for path, content in sorted(contents.items())
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
    ahead = {files.beside(files.join(output, path), run): content for path, content in sorted(contents.items())}
    announced = files.join(output, _next_path(part, run))
    try:
        for place, content in ahead.items():
            if isinstance(content, Path):
                files.move_in(content, place)
            else:
                files.write_bytes(place, content)
        _check_may_commit(output, part, onto, run)  # again, as writing may have taken a long time
        write_json(announced, {**commit.model_dump(), "run": run, "onto": _digest(onto)})
    except (OSError, MmstreamError):  # such as a full disk, which these files would fill further
        for place in ahead:
            files.remove(place)
        raise
    try:
        _check_may_commit(output, part, onto, run)  # a job that has taken over since may not have seen the announcement
    except (OSError, MmstreamError):
        files.remove(announced)  # and nothing else, as a job that has seen it may be moving the files
        raise
    _complete(output, commit, run)
    worker.got_on()
    return commit


def recover(output: str) -> None:
    """Finish the commits that earlier jobs began, and remove their half-written files.

    Raises:
        DamagedFileError: an announcement or commit record is not valid.
    """
    for name in pending(output):
        _finish(output, name)
    files.sweep(output)


def finish(output: str, part: int, run: str) -> None:
    """Finish a part's commit, if a worker of this run began one before it was killed.

    Raises:
        DamagedFileError: the announcement or the commit record is not valid.
    """
    _finish(output, _next_path(part, run))


def pending(output: str) -> list[str]:
    """List the announcements of unfinished commits, such as "parts/next-00017.<run>.json"."""
    return [f"parts/{name}" for name in names_in_parts(output) if _NEXT.fullmatch(name)]


def part_announced(name: str) -> int:
    """Return the part of an announcement, given its path from `pending`."""
    match = _NEXT.fullmatch(files.name(name))
    return int(match[1]) if match else -1


def check_pending(output: str, name: str) -> None:
    """Check that an announcement is valid.

    Raises:
        DamagedFileError: it is not.
    """
    load(output, name, _Pending)


def _finish(output: str, name: str) -> None:
    """Finish an announced commit, if there is one.

    The commit is given up if the part has changed since, as after a takeover, or if some of its files are missing; the
    part then stays as it is.
    """
    begun = load(output, name, _Pending)
    if begun is None:
        return
    commit, places = begun.commit, [files.join(output, path) for path in begun.checksums]
    if begun.onto in (None, _digest(recorded(output, begun.part))):
        ahead = [files.beside(place, begun.run) for place in places]
        there = zip(ahead, places, begun.checksums.values(), strict=True)
        if all(sha256 in (checksum_if_there(one), checksum_if_there(other)) for one, other, sha256 in there):
            _complete(output, commit, begun.run, name)
            return
    for place in places:
        files.remove(files.beside(place, begun.run))
    files.remove(files.join(output, name))


def _complete(output: str, commit: Commit, run: str, name: str = "") -> None:
    """Move a part's new files to their places, unless this is already done, and write its commit record."""
    for path in commit.checksums:
        place = files.join(output, path)
        files.move(files.beside(place, run), place)
    write_json(files.join(output, record_path(commit.part)), commit.model_dump())
    files.remove(files.join(output, name or _next_path(commit.part, run)))


def _check_may_commit(output: str, part: int, onto: Commit | None, run: str) -> None:
    lock.check(output, run)
    if recorded(output, part) != onto:
        raise MmstreamError(f"{part_name(part)} of {output} was changed by another worker; this result is dropped")


def _digest(commit: Commit | None) -> str:
    """Return a digest of a commit record, "" for none; equal digests mean the same state of the part."""
    return hashlib.sha256(json_bytes(commit.model_dump())).hexdigest() if commit else ""


def _next_path(part: int, run: str) -> str:
    return f"parts/next-{part:05d}{run and f'.{run}'}.json"
