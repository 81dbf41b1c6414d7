"""Parts: the unit of work, commit and retry of every job.

A record belongs to the part `hash(id) mod P`. P is chosen once for an output and written to `parts/plan.json` before
anything else. A part's files are put in their places whole, and last of all its commit record, `parts/part-00017.json`:
without it, or where a checksum differs, the part does not count and is done again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmstream import files, lock
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
    if files.exists(files.join(staged(output), "ready")):
        raise MmstreamError(f"`mmstream repartition {output}` was interrupted; run it again first")
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
    files.sweep(output)
    return plan


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
    run: str = "",
) -> Commit:
    """Put a part's files in their places, and then its commit record; what is committed so already is left alone.

    Args:
        output: the output directory.
        part: its number.
        fingerprint: of what made it.
        counts: records by what became of them.
        made: contents by path below the output; a `Path` is a finished local file, which is moved.
        inputs: digest of the records that went in.
        run: which must still hold the output; "" where nothing holds it.

    Raises:
        MmstreamError: another job has taken the output over.
    """
    checksums = {
        path: files.checksum(str(content)) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()
        for path, content in sorted(made.items())
    }
    commit = Commit(part, fingerprint, dict(sorted(counts.items())), checksums, inputs)
    if commit == read_commit(output, part):
        return commit
    if run:
        lock.check(output, run)
    for path, content in sorted(made.items()):
        target = files.join(output, path)
        if isinstance(content, Path):
            files.move_in(content, target)
        else:
            files.write_bytes(target, content)
    write_json(_commit_path(output, part), dataclasses.asdict(commit))
    return commit


def read_commit(output: str, part: int) -> Commit | None:
    """The commit record of a part, None where the part does not count: no record, a missing file, another checksum."""
    commit = recorded(output, part)
    try:
        intact = commit and all(files.checksum(files.join(output, p)) == sha for p, sha in commit.checksums.items())
    except OSError:
        return None
    return commit if intact else None


def recorded(output: str, part: int) -> Commit | None:
    """The commit record of a part as it stands there, its files unread; None where there is none, or a damaged one."""
    try:
        return Commit(**json.loads(files.read_bytes(_commit_path(output, part))))
    except (OSError, ValueError, TypeError):
        return None


def _commit_path(output: str, part: int) -> str:
    return files.join(output, "parts", f"{part_name(part)}.json")


def _is_empty(folder: str) -> bool:
    return next(files.list_files(folder), None) is None
