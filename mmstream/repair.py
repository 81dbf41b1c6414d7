"""Mending an output that somebody has touched: what can be rebuilt from its parts is, and what cannot is said."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from mmstream import books, commits, components, files, json_files, lock, outputs, parts, unfinished
from mmstream.errors import DamagedFileError, MmstreamError, describe
from mmstream.interfaces import Sink
from mmstream.stages.label import label_paths
from mmstream.stages.reading import load_letters

_MADE_BY = (("examples", "preprocess"), ("labels", "label"))
"""Folders of an output, and the command that makes them."""


@dataclasses.dataclass
class Repairs:
    """What a repair did.

    Attributes:
        done: what was mended, a line each.
        lost: what could not be, and what to do about it, a line each.
    """

    done: list[str] = dataclasses.field(default_factory=list)
    lost: list[str] = dataclasses.field(default_factory=list)


def repair(output: str, *, take_over: bool = False) -> Repairs:
    """Mend the files that jobs keep in an output, so that they can go on with it.

    `parts/plan.json` is rebuilt from the commit records, job.json from the copies that runs keep, a commit record from
    the files of its part. Books and notes are written anew by jobs. What is damaged, or cannot be read, is moved to
    `damaged/`; nothing is deleted.

    Args:
        output: the directory, on a local disk.
        take_over: from a job that holds it.

    Raises:
        MmstreamError: it is no output, or a job holds it.
    """
    if files.is_remote(output):
        raise MmstreamError("repair works on a local disk; copy the output to one first")
    if not files.is_folder(files.join(output, "parts")):
        raise MmstreamError(f"{output} is not an output of `mmstream label` or `mmstream preprocess`")
    outputs.check_not_cut(output)
    outputs.check_places(output)
    run = books.new_run()
    with lock.held(output, run, take_over=take_over):
        return _Repair(output, run).make()


class _Repair:
    """Of one output.

    Args:
        output: its directory.
        run: that holds it.
    """

    def __init__(self, output: str, run: str) -> None:
        self._output, self._run = output, run
        self._made = Repairs()

    def make(self) -> Repairs:
        """Mend, in an order in which each step can lean on those before."""
        self._put_aside_announcements()
        self._put_aside_records()
        plan = self._plan()
        about = self._about(plan)
        if about or plan.command == "preprocess":
            self._rebuild_records(plan, about)
        commits.recover(self._output)
        self._move_foreign_parts(plan)
        self._put_aside_damaged(outputs.BOOKS[plan.command][0], partial(outputs.read_books, self._output, plan.command))
        for path in list(books.note_files(self._output)):
            self._put_aside_damaged(f"runs/{path}", partial(books.check_note, self._output, path))
        for name in list(files.list_files(files.join(self._output, "unfinished"))):
            name = f"unfinished/{name}"
            self._put_aside_damaged(name, partial(json_files.load, self._output, name, unfinished.Deaths))
        self._made.lost += [f"{problem}, and this cannot be mended" for problem in self._left(plan)]
        return self._made

    def _left(self, plan: parts.Plan) -> Iterator[str]:
        return outputs.contradictions(self._output, plan) if not self._made.lost else iter(())

    def _put_aside_announcements(self) -> None:
        for name in commits.pending(self._output):
            self._put_aside_damaged(name, partial(commits.check_pending, self._output, name))

    def _put_aside_records(self) -> None:
        for number in commits.numbers_recorded(self._output):
            name = commits.record_path(number)
            self._put_aside_damaged(name, partial(commits.recorded, self._output, number))

    def _put_aside_damaged(self, name: str, check: Callable[[], object]) -> None:
        """Put a file aside that does not hold what it should."""
        try:
            check()
        except DamagedFileError as error:
            self._put_aside(name, error.why)

    def _plan(self) -> parts.Plan:
        """The plan as it stands there, if the commit records agree with it; else as they say.

        Raises:
            MmstreamError: nobody can tell into how many parts the output was cut.
        """
        self._put_aside_damaged(parts.PLAN, partial(parts.read_plan, self._output))
        plan = parts.read_plan(self._output)
        if plan and plan.format != parts.FORMAT:
            raise MmstreamError(f"{self._output} has format {plan.format}; this mmstream knows format {parts.FORMAT}")
        command = next((of for folder, of in _MADE_BY if files.is_folder(files.join(self._output, folder))), "label")
        records = [commits.recorded(self._output, number) for number in commits.numbers_recorded(self._output)]
        said = Counter(record.parts for record in records if record and record.parts)
        if plan and plan.command == command and (not said or said.keys() == {plan.parts}):
            return plan
        if len(said) > 1:
            more = ", ".join(f"{count} of {records} records" for count, records in sorted(said.items()))
            raise MmstreamError(
                f"{self._output} holds parts of several plans ({more}), and nobody knows which records stand twice; "
                "label into another --output"
            )
        if not said and not plan:
            raise MmstreamError(
                f"{self._output} has no sound {parts.PLAN}, and no commit record that says how many parts there are; "
                "name another --output"
            )
        count = next(iter(said), plan.parts if plan else 0)
        plan = parts.Plan.model_validate({"parts": count, "command": command})
        json_files.write_json(files.join(self._output, parts.PLAN), plan.model_dump())
        self._made.done.append(f"rebuilt {parts.PLAN}: {plan.parts} parts of `mmstream {plan.command}`")
        return plan

    def _about(self, plan: parts.Plan) -> dict[str, Any]:
        """job.json as it stands there, or as the latest run that kept a copy of it says; {} if nobody knows."""
        self._put_aside_damaged(outputs.ABOUT, partial(outputs.read_about, self._output, plan.command))
        if about := outputs.read_about(self._output, plan.command):
            return about
        for name in sorted(_folders(files.join(self._output, "runs")), reverse=True):
            with contextlib.suppress(DamagedFileError):
                if about := outputs.read_about_of_run(self._output, plan.command, name):
                    json_files.write_json(files.join(self._output, outputs.ABOUT), about)
                    self._made.done.append(f"restored {outputs.ABOUT} from what the run {name} kept")
                    return about
        if plan.command == "preprocess" or next(outputs.result_files(self._output), None) is None:
            return {}  # the next run writes it
        self._made.lost.append(
            f"{outputs.ABOUT} cannot be rebuilt: no run has kept a copy. Put it back from a backup, or run the job "
            "again with another --output"
        )
        return {}

    def _rebuild_records(self, plan: parts.Plan, about: dict[str, Any]) -> None:
        """Make commit records for parts that have files and no record.

        Of an output of preprocess, whose parts are made whole from its one input, the files are removed instead.
        """
        recorded = set(commits.numbers_recorded(self._output))
        announced = {commits.part_announced(name) for name in commits.pending(self._output)}
        left: dict[int, list[str]] = {}
        for path in outputs.result_files(self._output):
            number = outputs.part_of_file(path)
            if number is not None and number not in recorded | announced and number < plan.parts:
                left.setdefault(number, []).append(path)
        for number, paths in sorted(left.items()):
            if plan.command == "preprocess":
                for path in paths:
                    files.remove(files.join(self._output, path))
                self._made.done.append(
                    f"removed the files of {parts.part_name(number)}, which had no commit record; `mmstream "
                    "preprocess` makes them anew"
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
        for path, found in ((rows_path, rows), (letters_path, letters)):
            if found is None:
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
        """What a file of results holds; None if it is not there, or cannot be read and is put aside."""
        data = files.read_if_there(files.join(self._output, path))
        if data is None:
            return None
        try:
            return loads(data)
        except Exception as error:  # noqa: BLE001 - a sink's reader may raise anything on bytes that it did not write
            self._put_aside(path, f"it cannot be read: {describe(error)}")
            return None

    def _put_aside(self, path: str, why: str) -> None:
        self._made.done.append(f"moved {path} to {commits.put_aside(self._output, path, self._run)}: {why}")

    def _move_foreign_parts(self, plan: parts.Plan) -> None:
        """Put aside what belongs to parts that the plan does not have."""
        records = [commits.record_path(number) for number in commits.numbers_recorded(self._output)]
        for path in [*records, *outputs.result_files(self._output)]:
            number = outputs.part_of_file(path)
            if number is not None and number >= plan.parts:
                self._put_aside(path, f"there are {plan.parts} parts")


def _data(output: str, path: str) -> bytes:
    return files.read_bytes(files.join(output, path))


def _folders(place: str) -> Iterator[str]:
    """The names of the folders below a folder."""
    return iter({name.split("/")[0] for name in files.list_files(place) if "/" in name})


def _again(about: dict[str, Any]) -> str:
    return f"label again: {', '.join(each['path'] for each in about['inputs'])}"
