"""Repairing an output whose files somebody has edited or removed, as far as possible."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from mmstream.errors import DamagedFileError, MmstreamError, describe
from mmstream.interfaces import Sink
from mmstream.outputs import commit_records, commits, lock, ownership, parts, run_notes, unfinished
from mmstream.outputs.label_part import label_paths
from mmstream.outputs.letters import load_letters
from mmstream.plugins import components
from mmstream.storage import files, json_files

_MADE_BY = (("examples", "preprocess"), ("labels", "label"))
"""The folders of an output, and the command that makes each."""


@dataclasses.dataclass
class Repairs:
    """The results of a repair.

    Attributes:
        done: what was repaired, one line each.
        lost: what could not be repaired, and what to do about it, one line each.
    """

    done: list[str] = dataclasses.field(default_factory=list)
    lost: list[str] = dataclasses.field(default_factory=list)


def repair(output: str, *, take_over: bool = False) -> Repairs:
    """Repair the files that jobs keep in an output, so that jobs can continue with it.

    `parts/plan.json` is rebuilt from the commit records, job.json from the copies that runs keep, and a commit record
    from the files of its part. The next job rewrites summaries and notes. Files that are damaged or cannot be read are
    moved to `damaged/`, not deleted.

    Args:
        output: the output directory, on a local disk.
        take_over: whether to take the output over from a job that holds it.

    Raises:
        MmstreamError: it is not an output, or a job holds it.
    """
    if files.is_remote(output):
        raise MmstreamError("repair works only on a local disk; copy the output to one first")
    if not files.is_folder(files.join(output, "parts")):
        raise MmstreamError(f"{output} is not an output of `mmstream label` or `mmstream preprocess`")
    ownership.check_not_cut(output)
    ownership.check_places(output)
    run = run_notes.new_run()
    with lock.held(output, run, take_over=take_over):
        return _Repair(output, run).make()


class _Repair:
    """The repair of one output.

    Args:
        output: the output directory.
        run: the run that holds it.
    """

    def __init__(self, output: str, run: str) -> None:
        self._output, self._run = output, run
        self._made = Repairs()

    def make(self) -> Repairs:
        """Repair everything, in an order in which each step can rely on those before it."""
        self._put_aside_announcements()
        self._put_aside_records()
        plan = self._plan()
        about = self._about(plan)
        if about or plan.command == "preprocess":
            self._rebuild_records(plan, about)
        commits.recover(self._output)
        self._move_foreign_parts(plan)
        self._put_aside_damaged(
            ownership.SUMMARIES[plan.command][0], partial(ownership.read_summary, self._output, plan.command)
        )
        for path in list(run_notes.note_files(self._output)):
            self._put_aside_damaged(f"runs/{path}", partial(run_notes.check_note, self._output, path))
        for name in list(files.list_files(files.join(self._output, "unfinished"))):
            name = f"unfinished/{name}"
            self._put_aside_damaged(name, partial(json_files.load, self._output, name, unfinished.Deaths))
        self._made.lost += [f"{problem}; this cannot be repaired" for problem in self._left(plan)]
        return self._made

    def _left(self, plan: parts.Plan) -> Iterator[str]:
        return ownership.contradictions(self._output, plan) if not self._made.lost else iter(())

    def _put_aside_announcements(self) -> None:
        for name in commits.pending(self._output):
            self._put_aside_damaged(name, partial(commits.check_pending, self._output, name))

    def _put_aside_records(self) -> None:
        for number in commit_records.numbers_recorded(self._output):
            name = commit_records.record_path(number)
            self._put_aside_damaged(name, partial(commit_records.recorded, self._output, number))

    def _put_aside_damaged(self, name: str, check: Callable[[], object]) -> None:
        """Move a file to `damaged/` if it is damaged."""
        try:
            check()
        except DamagedFileError as error:
            self._put_aside(name, error.why)

    def _plan(self) -> parts.Plan:
        """Read the plan if the commit records agree with it; otherwise rebuild it from them.

        Raises:
            MmstreamError: the number of parts cannot be determined.
        """
        self._put_aside_damaged(parts.PLAN, partial(parts.read_plan, self._output))
        plan = parts.read_plan(self._output)
        if plan and plan.format != parts.FORMAT:
            raise MmstreamError(
                f"{self._output} has format {plan.format}; this version of mmstream supports only format {parts.FORMAT}"
            )
        command = next((of for folder, of in _MADE_BY if files.is_folder(files.join(self._output, folder))), "label")
        numbers = commit_records.numbers_recorded(self._output)
        records = [commit_records.recorded(self._output, number) for number in numbers]
        said = Counter(record.parts for record in records if record and record.parts)
        if plan and plan.command == command and (not said or said.keys() == {plan.parts}):
            return plan
        if len(said) > 1:
            more = ", ".join(f"{count} parts according to {records} records" for count, records in sorted(said.items()))
            raise MmstreamError(
                f"{self._output} holds parts of several plans ({more}), and it is unknown which records occur "
                "twice; label into another --output"
            )
        if not said and not plan:
            raise MmstreamError(
                f"{self._output} has no valid {parts.PLAN}, and no commit record that says how many parts there are; "
                "name another --output"
            )
        count = next(iter(said), plan.parts if plan else 0)
        plan = parts.Plan.model_validate({"parts": count, "command": command})
        json_files.write_json(files.join(self._output, parts.PLAN), plan.model_dump())
        self._made.done.append(f"rebuilt {parts.PLAN}: {plan.parts} parts of `mmstream {plan.command}`")
        return plan

    def _about(self, plan: parts.Plan) -> dict[str, Any]:
        """Read job.json, or restore it from the copy that the latest run kept; {} if there is none."""
        self._put_aside_damaged(ownership.ABOUT, partial(ownership.read_about, self._output, plan.command))
        if about := ownership.read_about(self._output, plan.command):
            return about
        for name in sorted(_folders(files.join(self._output, "runs")), reverse=True):
            with contextlib.suppress(DamagedFileError):
                if about := ownership.read_about_of_run(self._output, plan.command, name):
                    json_files.write_json(files.join(self._output, ownership.ABOUT), about)
                    self._made.done.append(f"restored {ownership.ABOUT} from the copy that the run {name} kept")
                    return about
        if plan.command == "preprocess" or next(ownership.result_files(self._output), None) is None:
            return {}  # the next run writes it
        self._made.lost.append(
            f"{ownership.ABOUT} cannot be rebuilt: no run has kept a copy. Restore it from a backup, or run the job "
            "again with another --output"
        )
        return {}

    def _rebuild_records(self, plan: parts.Plan, about: dict[str, Any]) -> None:
        """Make commit records for parts that have files but no commit record.

        In an output of `mmstream preprocess`, which is made from a single input, the files are removed instead.
        """
        recorded = set(commit_records.numbers_recorded(self._output))
        announced = {commits.part_announced(name) for name in commits.pending(self._output)}
        left: dict[int, list[str]] = {}
        for path in ownership.result_files(self._output):
            number = ownership.part_of_file(path)
            if number is not None and number not in recorded | announced and number < plan.parts:
                left.setdefault(number, []).append(path)
        for number, paths in sorted(left.items()):
            if plan.command == "preprocess":
                for path in paths:
                    files.remove(files.join(self._output, path))
                self._made.done.append(
                    f"removed the files of {parts.part_name(number)}, which had no commit record; `mmstream "
                    "preprocess` makes them again"
                )
            else:
                self._rebuild_labels(plan, number, about)

    def _rebuild_labels(self, plan: parts.Plan, number: int, about: dict[str, Any]) -> None:
        sink: Sink = components.build("sink", about["sink"], about.get("sink_options", {}))
        rows_path, letters_path = label_paths(number, sink)
        name = parts.part_name(number)
        rows = self._readable(rows_path, lambda data: sink.loads(data, about["schema"]))
        letters = self._readable(letters_path, load_letters)
        if rows is None and letters is None:
            self._made.lost.append(f"nothing of {name} could be read; {_again(about)}")
            return
        for path, contents in ((rows_path, rows), (letters_path, letters)):
            if contents is None:
                self._made.lost.append(f"{path} is lost; {_again(about)}")
        commits.commit_part(
            self._output,
            number,
            about["fingerprint"],
            {"labelled": len(rows or []), "dead_lettered": len(letters or [])},
            {
                rows_path: _data(self._output, rows_path) if rows is not None else sink.dumps([], about["schema"]),
                letters_path: _data(self._output, letters_path) if letters is not None else b"",
            },
            parts=plan.parts,
            onto=None,
            run=self._run,
        )
        self._made.done.append(
            f"rebuilt the commit record of {name}: {len(rows or [])} labels, {len(letters or [])} dead letters"
        )

    def _readable(self, path: str, loads: Callable[[bytes], list[Any]]) -> list[Any] | None:
        """Read a file of results; None if it is missing, or is unreadable and thus moved to `damaged/`."""
        data = files.read_if_there(files.join(self._output, path))
        if data is None:
            return None
        try:
            return loads(data)
        except Exception as error:  # noqa: BLE001 - a sink's reader may raise anything on bytes that it did not write
            self._put_aside(path, f"it cannot be read: {describe(error)}")
            return None

    def _put_aside(self, path: str, why: str) -> None:
        self._made.done.append(f"moved {path} to {commit_records.put_aside(self._output, path, self._run)}: {why}")

    def _move_foreign_parts(self, plan: parts.Plan) -> None:
        """Move files of parts that the plan does not have to `damaged/`."""
        records = [commit_records.record_path(number) for number in commit_records.numbers_recorded(self._output)]
        for path in [*records, *ownership.result_files(self._output)]:
            number = ownership.part_of_file(path)
            if number is not None and number >= plan.parts:
                self._put_aside(path, f"there are only {plan.parts} parts")


def _data(output: str, path: str) -> bytes:
    return files.read_bytes(files.join(output, path))


def _folders(place: str) -> Iterator[str]:
    """Return the names of the folders below a folder."""
    return iter({name.split("/")[0] for name in files.list_files(place) if "/" in name})


def _again(about: dict[str, Any]) -> str:
    return f"label again: {', '.join(each['path'] for each in about['inputs'])}"
