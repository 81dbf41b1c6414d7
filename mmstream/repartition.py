"""Cutting an output of labels into more parts, once it has grown far beyond what it was planned for."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmstream import books, commits, components, files, lock, outputs, parts
from mmstream.errors import MmstreamError
from mmstream.interfaces import LabelType, Sink
from mmstream.json_files import write_json
from mmstream.records import DeadLetter, json_line
from mmstream.stages.label import Labelled, label_paths, read_part
from mmstream.stages.reading import dump_letters

_FOLDERS = ("labels", "dead_letters", "parts")


@dataclasses.dataclass(frozen=True)
class _Holdings:
    """What an output holds, however it is cut.

    Attributes:
        counts: records by what became of them.
        digest: of all rows and letters, in any order.
    """

    counts: Mapping[str, int]
    digest: int


def repartition(output: str, *, take_over: bool = False) -> tuple[int, int]:
    """Cut an output of `mmstream label` anew, about 1,000 records a part; the rows stay as they are.

    The new parts are written beside the old ones. When all are there, and are proven to hold what the old ones do, they
    take their place, which is over in a moment; the old ones are removed once that is proven of what lies in the place,
    too. Interrupted before that, nothing has changed; interrupted in it, the same command goes on.

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
    if not files.is_folder(output):
        raise MmstreamError(f"{output} is not an output of `mmstream label`")
    run = books.new_run()
    outputs.check_places(output)
    with lock.held(output, run, take_over=take_over):
        staged = Path(outputs.staged(output))
        old, new = staged / "old", staged / "new"
        about = _about(output)
        if not files.exists(str(staged / "ready")):
            if files.exists(str(staged)):
                shutil.rmtree(staged)
            if outputs.check_output(output, "label") is None:
                raise MmstreamError(f"{output} is not an output of `mmstream label`")
            plan = outputs.open_output(output, "label", 0)
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
    """The sink and the columns of an output's labels."""
    about = outputs.read_about(output, "label")
    if not about:
        raise MmstreamError(f"{output} has no {outputs.ABOUT}; run `mmstream label` again, which writes it")
    return components.build("sink", about["sink"], about.get("sink_options", {})), about["schema"]


def _write(output: str, plan: parts.Plan, new: str, about: tuple[Sink, dict[str, LabelType]]) -> None:
    records = list(commits.every_recorded(output, plan.parts))
    count = max(parts.parts_for(sum(sum(record.counts.values()) for record in records if record)), plan.parts)
    write_json(files.join(new, parts.PLAN), plan.model_copy(update={"parts": count}).model_dump())
    for part in range(plan.parts):
        held = _read_whole(output, part, about)
        schema = about[1]
        if any(row.keys() != schema.keys() for row in held.rows):
            raise MmstreamError(
                f"{parts.part_name(part)} of {output} holds rows of a model with other columns; finish with `mmstream "
                "label --relabel` first"
            )
        for finer in range(part, count, plan.parts):  # as P doubles, a part is cut, and never mixed with another
            rows = [row for row in held.rows if parts.part_of(row["id"], count) == finer]
            letters = [letter for letter in held.letters if parts.part_of(letter.id or letter.origin, count) == finer]
            fingerprint = held.commit.fingerprint if held.commit else ""
            _commit(new, finer, count, fingerprint, rows, letters, about)


def _read_whole(output: str, part: int, about: tuple[Sink, dict[str, LabelType]]) -> Labelled:
    """What a part holds.

    Raises:
        MmstreamError: it is not whole.
    """
    held = read_part(output, part, *about)
    if held.commit is None or held.damaged:
        raise MmstreamError(
            f"{parts.part_name(part)} of {output} is not whole; run `mmstream label` again, which mends it"
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
    """Two directories of parts hold the same rows and letters, cut in any way; every file is read and checked.

    Raises:
        MmstreamError: they do not; nothing has been removed.
    """
    if _holdings(before, about) != _holdings(after, about):
        raise MmstreamError(
            f"the parts in {after} do not hold what those in {before} do; nothing was removed. Copy the whole output "
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
    """Put the new folders in the places of the old ones; each step is left out where it has been made."""
    (staged / "old").mkdir(exist_ok=True)
    for name in _FOLDERS:
        if (staged / "new" / name).exists():
            if not (staged / "old" / name).exists():
                os.rename(output / name, staged / "old" / name)  # noqa: PTH104 - the folder, not what a link leads to
            os.rename(staged / "new" / name, output / name)  # noqa: PTH104
