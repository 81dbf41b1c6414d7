"""Parts: the unit of work, commit and retry of every job.

A record belongs to the part `hash(id) mod P`. P is chosen once for an output and written to `parts/plan.json` before
anything else. A part's files are written beside their places, under names that begin with a dot, then
`parts/next-00017.json`, which says what they are. From then on the part is as good as committed: its files move to
their places and last of all its commit record, `parts/part-00017.json`, and a job that finds this begun goes on with
it. So a kill at any moment leaves the old part or the new one. Without a commit record, or where a checksum differs,
the part does not count and is done again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from mmstream import files, lock, worker
from mmstream.concurrency import at_once
from mmstream.errors import MmstreamError

RECORDS_PER_PART = 1000
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Plan:
    """Whose directory an output is, and into how many parts it is cut.

    Attributes:
        parts: P, a power of two.
        command: "preprocess" or "label".
        format: of the directory.
    """

    parts: int
    command: str
    format: int = _FORMAT


@dataclasses.dataclass(frozen=True)
class Commit:
    """The commit record of one part; nothing in it depends on the run.

    Attributes:
        part: its number.
        fingerprint: of the model or preprocessing that made it.
        counts: records by what became of them, as {"labelled": 993, "dead_lettered": 7}.
        checksums: sha256 of each of its files, by path below the output.
        inputs: digest of the records that went in, where the part is made whole or not at all.
    """

    part: int
    fingerprint: str
    counts: dict[str, int]
    checksums: dict[str, str]
    inputs: str = ""


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


def check_output(output: str, command: str) -> Plan | None:
    """The plan of an output directory that a job of this kind may go on with; None where it is new.

    Raises:
        MmstreamError: the directory holds something else. Nothing is touched.
    """
    check_not_cut(output)
    plan = read_plan(output)
    if plan is None:
        if files.exists(output) and not (files.is_folder(output) and _is_empty(output)):
            raise MmstreamError(
                f"{output} holds something that `mmstream {command}` did not make; name another --output"
            )
        return None
    if plan.command != command or plan.format != _FORMAT:
        raise MmstreamError(
            f"{output} is the output of `mmstream {plan.command}` (format {plan.format}), not of `mmstream {command}`; "
            "name another --output"
        )
    return plan


def staged(output: str) -> str:
    """Where `mmstream repartition` prepares the new parts of an output."""
    return files.join(output, ".repartition")


def check_not_cut(output: str) -> None:
    """No `mmstream repartition` was interrupted while it put the new parts in the places of the old ones.

    Raises:
        MmstreamError: one was.
    """
    if files.exists(files.join(staged(output), "ready")):
        raise MmstreamError(f"`mmstream repartition {output}` was interrupted; run it again first")


def read_plan(output: str) -> Plan | None:
    """The plan of an output directory, None where there is none.

    Raises:
        MmstreamError: it is damaged.
    """
    path = files.join(output, "parts", "plan.json")
    if not files.exists(path):
        return None
    try:
        return Plan(**json.loads(files.read_bytes(path)))
    except (ValueError, TypeError) as error:
        raise MmstreamError(f"{path} is damaged ({error}); name another --output") from error


def open_output(output: str, command: str, rows: int) -> Plan:
    """The plan of an output directory, made now if the directory is new.

    Raises:
        MmstreamError: the directory holds something else.
    """
    plan = check_output(output, command)
    if plan is None:
        plan = Plan(parts_for(rows), command)
        write_json(files.join(output, "parts", "plan.json"), dataclasses.asdict(plan))
    recover(output)
    return plan


def recover(output: str) -> None:
    """Finish the commits in which an earlier job was interrupted, and remove what it left half-written."""
    for path in pending(output):
        finish(output, int(files.name(path).removeprefix("next-").removesuffix(".json")))
    files.sweep(output)


def finish(output: str, part: int) -> None:
    """Finish the commit of a part if one has begun, as a worker does that takes over from one that was killed.

    One whose files are not all there, as somebody else has removed them, is given up; the part stays as it was.
    """
    about = read_json(_next_path(output, part))
    if not about:
        return
    commit = Commit(**about)
    places = {files.join(output, path): sha256 for path, sha256 in commit.checksums.items()}
    if all(sha256 in (_checksum(files.beside(place)), _checksum(place)) for place, sha256 in places.items()):
        _complete(output, commit)
    else:
        files.remove(_next_path(output, part))


def pending(output: str) -> list[str]:
    """The commits that have begun and are not finished, by what says so, as "parts/next-00017.json"."""
    folder = files.join(output, "parts")
    names = files.list_files(folder) if files.exists(folder) else ()
    return [f"parts/{name}" for name in names if name.startswith("next-")]


def write_json(path: str, value: Mapping[str, Any]) -> None:
    """Write a JSON file whole, its keys in the given order."""
    files.write_bytes(path, (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode())


def read_json(path: str) -> dict[str, Any]:
    """A JSON file that a job keeps in its output; {} where there is none.

    Raises:
        MmstreamError: it is damaged.
    """
    try:
        return dict(json.loads(files.read_bytes(path))) if files.exists(path) else {}
    except ValueError as error:
        raise MmstreamError(f"{path} is damaged ({error})") from error


def write_about(output: str, about: Mapping[str, Any]) -> None:
    """Keep in an output what its job was asked to do: job.json."""
    write_json(files.join(output, "job.json"), about)


def read_about(output: str) -> dict[str, Any]:
    """What `write_about` kept; {} where nothing was.

    Raises:
        MmstreamError: it is damaged.
    """
    return read_json(files.join(output, "job.json"))


def commit_part(
    output: str,
    part: int,
    fingerprint: str,
    counts: Mapping[str, int],
    made: Mapping[str, bytes | Path],
    inputs: str = "",
    holder: str = "",
    onto: Commit | Literal["any"] | None = "any",
) -> Commit:
    """Put a part's files in their places, and then its commit record; what is committed so already is left alone.

    Args:
        output: the output directory.
        part: its number.
        fingerprint: of what made it.
        counts: records by what became of them.
        made: contents by path below the output; a `Path` is a finished local file, which is moved.
        inputs: digest of the records that went in.
        holder: the run that must still hold the output; "" where nothing holds it.
        onto: what the part must still hold, as these files were made from it.

    Raises:
        MmstreamError: another job has taken the output over, or somebody has changed the part.
    """
    checksums = {
        path: files.checksum(str(content)) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()
        for path, content in sorted(made.items())
    }
    commit = Commit(part, fingerprint, dict(sorted(counts.items())), checksums, inputs)
    if commit == read_commit(output, part):
        return commit
    lock.check(output, holder)
    ahead = {files.beside(files.join(output, path)): content for path, content in sorted(made.items())}
    try:
        for place, content in ahead.items():
            if isinstance(content, Path):
                files.move_in(content, place)
            else:
                files.write_bytes(place, content)
        lock.check(output, holder)  # again: writing may have taken long
        _check_unchanged(output, part, onto)
        write_json(_next_path(output, part), dataclasses.asdict(commit))
    except OSError:  # a full disk, which these need not fill further
        for place in ahead:
            files.remove(place)
        raise
    _complete(output, commit)
    worker.got_on()
    return commit


def _check_unchanged(output: str, part: int, onto: Commit | Literal["any"] | None) -> None:
    if onto != "any" and recorded(output, part) != onto:
        raise MmstreamError(f"{part_name(part)} of {output} was changed by another worker; what was made is given up")


def read_commit(output: str, part: int) -> Commit | None:
    """The commit record of a part, None where the part does not count: no record, a missing file, another checksum."""
    commit = recorded(output, part)
    return commit if commit and not damaged_files(output, commit) else None


def damaged_files(output: str, commit: Commit) -> dict[str, str]:
    """The files of a part that are not as they were committed, and what is wrong with each."""
    found = {}
    for path, sha256 in commit.checksums.items():
        try:
            if files.checksum(files.join(output, path)) != sha256:
                found[path] = "is not what was committed: its checksum differs"
        except OSError as error:
            found[path] = f"cannot be read: {error}"
    return found


def _checksum(path: str) -> str:
    """Of a file; "" where there is none."""
    try:
        return files.checksum(path)
    except OSError:
        return ""


def damaged_record(output: str, part: int) -> dict[str, str]:
    """The commit record of a part and what is wrong with it, where there is one that cannot be read; else {}."""
    path = _commit_path(output, part)
    broken = files.exists(path) and recorded(output, part) is None
    return {path: "is damaged, so that nobody knows what the part held"} if broken else {}


def recorded(output: str, part: int) -> Commit | None:
    """The commit record of a part as it stands there, its files unread; None where there is none, or a damaged one."""
    try:
        return Commit(**json.loads(files.read_bytes(_commit_path(output, part))))
    except (OSError, ValueError, TypeError):
        return None


def every_recorded(output: str, parts: int) -> Iterator[Commit | None]:
    """The commit records of all parts, as `recorded` gives them."""
    return at_once(lambda part: recorded(output, part), range(parts))


def _complete(output: str, commit: Commit) -> None:
    """Move a part's new files to their places, and its commit record last; what was moved already stays."""
    for path in commit.checksums:
        place = files.join(output, path)
        files.move(files.beside(place), place)
    files.move(_next_path(output, commit.part), _commit_path(output, commit.part))


def _next_path(output: str, part: int) -> str:
    return files.join(output, "parts", f"next-{part:05d}.json")


def _commit_path(output: str, part: int) -> str:
    return files.join(output, "parts", f"{part_name(part)}.json")


def _is_empty(folder: str) -> bool:
    return next(files.list_files(folder), None) is None
