"""Dividing an output of labels into more parts once it has grown far beyond its plan."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmstream.errors import MmstreamError
from mmstream.interfaces import LabelType, Sink
from mmstream.outputs import commit_records, commits, lock, ownership, parts, run_notes
from mmstream.outputs.label_part import LabelPart, label_paths, read_part
from mmstream.outputs.letters import dump_letters
from mmstream.plugins import components
from mmstream.records.record import DeadLetter, json_line
from mmstream.storage import files
from mmstream.storage.json_files import write_json

_FOLDERS = ("labels", "dead_letters", "parts")


@dataclasses.dataclass(frozen=True)
class _Holdings:
    """What an output holds, regardless of the number of parts.

    Attributes:
        counts: how many records had each outcome.
        digest: a digest of all rows and letters, independent of their order.
    """

    counts: Mapping[str, int]
    digest: int


def repartition(output: str, *, take_over: bool = False) -> tuple[int, int]:
    """Divide an output of `mmstream label` into new parts of about 1,000 records each; the rows stay as they are.

    The new parts are written beside the old ones, and checked to hold the same. Then they replace the old ones, which
    takes a moment; after another check, the old ones are removed. An interruption before the replacement changes
    nothing; after a later one, the same command finishes the work.

    Args:
        output: the output directory, on a local disk.
        take_over: whether to take the output over from a job that holds it.

    Returns:
        the number of parts before and after.

    Raises:
        MmstreamError: it is not such an output, is not intact, or is held by a job.
    """
    if files.is_remote(output):
        raise MmstreamError("repartition works only on a local disk; copy the output to one first")
    if not files.is_folder(output):
        raise MmstreamError(f"{output} is not an output of `mmstream label`")
    run = run_notes.new_run()
    ownership.check_places(output)
    with lock.held(output, run, take_over=take_over):
        staged = Path(ownership.staged(output))
        old, new = staged / "old", staged / "new"
        about = _about(output)
        if not files.exists(str(staged / "ready")):
            if files.exists(str(staged)):
                shutil.rmtree(staged)
            if ownership.check_output(output, "label") is None:
                raise MmstreamError(f"{output} is not an output of `mmstream label`")
            plan = ownership.open_output(output, "label", 0)
            _write(output, plan, str(new), about)
            _check_equal(output, str(new), about)
            files.write_bytes(str(staged / "ready"), b"")
        lock.check(output, run)
        _swap(Path(output), staged)
        _check_equal(str(old), output, about)
        before, after = parts.read_plan(str(old)), parts.read_plan(output)
        shutil.rmtree(staged)
        if before is None or after is None:
            raise MmstreamError(f"{output} has lost its {parts.PLAN}")
        return before.parts, after.parts


def _about(output: str) -> tuple[Sink, dict[str, LabelType]]:
    """Return the sink and the columns of an output's labels."""
    about = ownership.read_about(output, "label")
    if not about:
        raise MmstreamError(f"{output} has no {ownership.ABOUT}; run `mmstream label` again, which writes it")
    return components.build("sink", about["sink"], about.get("sink_options", {})), about["schema"]


def _write(output: str, plan: parts.Plan, new: str, about: tuple[Sink, dict[str, LabelType]]) -> None:
    records = list(commit_records.every_recorded(output, plan.parts))
    count = max(parts.parts_for(sum(sum(record.counts.values()) for record in records if record)), plan.parts)
    write_json(files.join(new, parts.PLAN), plan.model_copy(update={"parts": count}).model_dump())
    for part in range(plan.parts):
        held = _read_whole(output, part, about)
        schema = about[1]
        if any(row.keys() != schema.keys() for row in held.rows):
            raise MmstreamError(
                f"{parts.part_name(part)} of {output} holds rows written by a model whose output columns differ; "
                "finish `mmstream label --relabel` first"
            )
        for finer in range(part, count, plan.parts):  # P is a power of two, so each new part is made from one old part
            rows = [row for row in held.rows if parts.part_of(row["id"], count) == finer]
            letters = [letter for letter in held.letters if parts.part_of(letter.id or letter.origin, count) == finer]
            fingerprint = held.commit.fingerprint if held.commit else ""
            _commit(new=new, part=finer, count=count, fingerprint=fingerprint, rows=rows, letters=letters, about=about)


def _read_whole(output: str, part: int, about: tuple[Sink, dict[str, LabelType]]) -> LabelPart:
    """Read everything that a part holds.

    Raises:
        MmstreamError: it is not intact.
    """
    held = read_part(output, part, *about)
    if held.commit is None or held.damaged:
        raise MmstreamError(
            f"{parts.part_name(part)} of {output} is not intact; run `mmstream label` again, which repairs it"
        )
    return held


def _commit(
    new: str,
    part: int,
    count: int,
    fingerprint: str,
    rows: Sequence[dict[str, Any]],
    letters: Sequence[DeadLetter],
    about: tuple[Sink, dict[str, LabelType]],
) -> None:
    sink, schema = about
    rows_path, letters_path = label_paths(part, sink)
    commits.commit_part(
        new,
        part,
        fingerprint,
        {"labelled": len(rows), "dead_lettered": len(letters)},
        {rows_path: sink.dumps(rows, schema), letters_path: dump_letters(letters)},
        parts=count,
        onto=None,
    )


def _check_equal(before: str, after: str, about: tuple[Sink, dict[str, LabelType]]) -> None:
    """Check that two directories of parts hold the same rows and dead letters; every file is read.

    Raises:
        MmstreamError: they do not; nothing has been removed.
    """
    if _holdings(before, about) != _holdings(after, about):
        raise MmstreamError(
            f"the parts in {after} differ from those in {before}; nothing was removed. Copy the whole output "
            "before anything else, and report this"
        )


def _holdings(output: str, about: tuple[Sink, dict[str, LabelType]]) -> _Holdings:
    plan = parts.read_plan(output)
    if plan is None:
        raise MmstreamError(f"{output} has lost its {parts.PLAN}")
    counts, digest = Counter[str](), 0
    for part in range(plan.parts):
        held = _read_whole(output, part, about)
        counts.update(held.commit.counts if held.commit else {})
        counts.update({"rows": len(held.rows), "letters": len(held.letters)})
        for line in (*map(json_line, held.rows), *(letter.to_json() for letter in held.letters)):
            digest = (digest + int.from_bytes(hashlib.sha256(line.encode()).digest())) % 2**256
    return _Holdings(counts, digest)


def _swap(output: Path, staged: Path) -> None:
    """Replace the old folders with the new ones; steps that were done before an interruption are skipped."""
    (staged / "old").mkdir(exist_ok=True)
    for name in _FOLDERS:
        if (staged / "new" / name).exists():
            if not (staged / "old" / name).exists():
                os.rename(output / name, staged / "old" / name)  # noqa: PTH104 - the folder, not what a link leads to
            os.rename(staged / "new" / name, output / name)  # noqa: PTH104
