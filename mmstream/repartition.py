"""Cutting an output of labels into more parts, once it has grown far beyond what it was planned for."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmstream import books, components, files, lock, parts
from mmstream.errors import MmstreamError
from mmstream.interfaces import LabelType, Sink
from mmstream.records import DeadLetter
from mmstream.stages.label import label_paths, read_part
from mmstream.stages.reading import dump_letters

_FOLDERS = ("labels", "dead_letters", "parts")


def repartition(output: str, *, take_over: bool = False) -> tuple[int, int]:
    """Cut an output of `mmstream label` anew, about 1,000 records a part; the rows stay as they are.

    The new parts are written beside the old ones, and when all are there they take their place, which is over in a
    moment. Interrupted before that, nothing has changed; interrupted in it, the same command goes on.

    Args:
        output: the directory, on a local disk.
        take_over: from a job that holds it.

    Returns:
        the number of parts before and after.

    Raises:
        MmstreamError: it is no such output, is not whole, or is held by a job.
    """
    if files.is_remote(output):
        raise MmstreamError("repartition works on a local disk; copy the output to one first")
    run = books.new_run()
    with lock.held(output, run, take_over=take_over):
        staged = Path(parts.staged(output))
        if (staged / "ready").exists():
            plan = parts.read_plan(str(staged / "old")) or parts.read_plan(output)
        else:
            shutil.rmtree(staged, ignore_errors=True)
            plan = parts.check_output(output, "label")
            if plan is None:
                raise MmstreamError(f"{output} is not an output of `mmstream label`")
            parts.recover(output)
            _write(output, plan, staged / "new")
            files.write_bytes(str(staged / "ready"), b"")
        lock.check(output, run)
        _swap(Path(output), staged)
        found = parts.read_plan(output)
        if plan is None or found is None:
            raise MmstreamError(f"{output} has lost its parts/plan.json")
        return plan.parts, found.parts


def _write(output: str, plan: parts.Plan, new: Path) -> None:
    about = parts.read_about(output)
    if not about:
        raise MmstreamError(f"{output} has no job.json; run `mmstream label` again, which writes it")
    sink: Sink = components.build("sink", about["sink"], {})
    schema: dict[str, LabelType] = about["schema"]
    commits = [parts.read_commit(output, part) for part in range(plan.parts)]
    broken = [parts.part_name(part) for part, commit in enumerate(commits) if commit is None]
    if broken:
        raise MmstreamError(
            f"{', '.join(broken)} of {output} are not whole; run `mmstream label` again, which mends them"
        )
    records = sum(sum(commit.counts.values()) for commit in commits if commit)
    count = max(parts.parts_for(records), plan.parts)
    parts.write_json(str(new / "parts" / "plan.json"), dataclasses.asdict(dataclasses.replace(plan, parts=count)))
    for part, commit in enumerate(commits):
        held = read_part(output, part, sink, schema)
        if any(row.keys() != schema.keys() for row in held.rows):
            raise MmstreamError(
                f"{parts.part_name(part)} of {output} holds rows of a model with other columns; finish with `mmstream "
                "label --relabel` first"
            )
        for finer in range(part, count, plan.parts):  # as P doubles, a part is cut, and never mixed with another
            rows = [row for row in held.rows if parts.part_of(row["id"], count) == finer]
            letters = [letter for letter in held.letters if parts.part_of(letter.id or letter.origin, count) == finer]
            _commit(str(new), finer, commit.fingerprint if commit else "", rows, letters, sink, schema)


def _commit(
    new: str,
    part: int,
    fingerprint: str,
    rows: Sequence[dict[str, Any]],
    letters: Sequence[DeadLetter],
    sink: Sink,
    schema: dict[str, LabelType],
) -> None:
    rows_path, letters_path = label_paths(part, sink)
    parts.commit_part(
        new,
        part,
        fingerprint,
        {"labelled": len(rows), "dead_lettered": len(letters)},
        {rows_path: sink.dumps(rows, schema), letters_path: dump_letters(letters)},
    )


def _swap(output: Path, staged: Path) -> None:
    """Put the new folders in the places of the old ones; each step is left out where it has been made."""
    (staged / "old").mkdir(exist_ok=True)
    for name in _FOLDERS:
        if (staged / "new" / name).exists():
            if not (staged / "old" / name).exists():
                os.rename(output / name, staged / "old" / name)  # noqa: PTH104 - the folder, not what a link leads to
            os.rename(staged / "new" / name, output / name)  # noqa: PTH104
    shutil.rmtree(staged)
