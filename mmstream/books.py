"""The books of a run: what was read must be what the parts account for and hold.

Readers and parts note what they have done in `runs/<start>/` of the output, on any runner; the books are the sum.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from mmstream import commits, files, lock, parts
from mmstream.concurrency import at_once
from mmstream.errors import MmstreamError, repair_hint
from mmstream.json_files import load, write_json

_NOTE = re.compile(r"(part|read)-\d{5,}\.json")
_Values = dict[str, int | float | list[str]]


@dataclasses.dataclass(frozen=True)
class Books:
    """What became of the records of a run.

    Attributes:
        read: rows that the source gave.
        done: labelled, or turned into examples, in this run.
        dead_lettered: in this run.
        skipped: left as an earlier run made them.
        letters: dead letters of these records, of this run or an earlier one.
        kept: rows and letters of other inputs that the output still holds.
        pruned: rows and letters of other inputs that it has lost.
        of_another_model: rows and letters among the kept ones that another model made.
        lost: rows and letters of other inputs, at least, that were in files that turned out to be damaged.
        smaller_batch: rows that the network was given at a time after memory had run out; 0 where it never has.
        damaged: files that were not as an earlier run had committed them, and what was wrong with each.
        held: what the output holds now, by the names of its parts' counts, as "labelled" or "train"; dead letters too.
    """

    read: int
    done: int
    dead_lettered: int
    skipped: int
    letters: int
    kept: int
    pruned: int
    of_another_model: int
    lost: int
    smaller_batch: int
    damaged: list[str]
    held: Counter[str]

    @classmethod
    def of(cls, totals: Mapping[str, int], read: int, done: str, damaged: list[str], held: Counter[str]) -> Books:
        """Books from the sum of what parts have noted.

        Args:
            totals: by name; what is not there is 0.
            read: rows that the source gave.
            done: name of the count of good records, as "labelled".
            damaged: see `Books`.
            held: see `Books`.
        """
        return cls(
            read,
            totals.get(done, 0),
            totals.get("dead_lettered", 0),
            totals.get("skipped", 0),
            totals.get("letters", 0),
            totals.get("kept", 0),
            totals.get("pruned", 0),
            totals.get("of_another_model", 0),
            totals.get("lost", 0),
            totals.get("smaller_batch", 0),
            damaged,
            held,
        )

    @property
    def committed_letters(self) -> int:
        """Dead letters that the output holds now."""
        return self.held["dead_lettered"]

    @property
    def committed(self) -> int:
        """Rows or examples that the output holds now."""
        return sum(self.held.values()) - self.committed_letters


def new_run() -> str:
    """The name of a run: when it started, UTC, to the microsecond."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%S.%fZ")


class Run:
    """The sum of what the parts and readers of a run have noted.

    Args:
        output: the output directory.
        run: the run's start, which names its folder.

    Attributes:
        damaged: files that were not as an earlier run had committed them, and what was wrong with each.
    """

    def __init__(self, output: str, run: str) -> None:
        self._output, self._run = output, run
        self._known: set[str] = set()
        self._totals: Counter[str] = Counter()
        self.damaged: list[str] = []

    def read(self) -> Counter[str]:
        """Totals by name: "parts" done, and whatever `note` was given; of "smaller_batch" the least.

        Read again, only what is new is added: a note that was replaced in the meantime still counts as it was.
        """
        for name, values in notes(self._output, self._run, self._known):
            self._known.add(name)
            self._totals["parts"] += name.startswith("part-")
            self.damaged += values.pop("damaged", ())
            smaller_batch = least(self._totals["smaller_batch"], values.pop("smaller_batch", 0))
            self._totals.update({key: value for key, value in values.items() if isinstance(value, int)})
            self._totals["smaller_batch"] = smaller_batch
        return self._totals


def least(*batches: int) -> int:
    """The smallest of some batch sizes, of which 0 means that memory has not run out."""
    return min(filter(None, batches), default=0)


def notes(output: str, run: str = "", known: Set[str] = frozenset()) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the parts and readers of a run, or of all of them, have noted: the name of each, and its values.

    Args:
        output: the output directory.
        run: the run's start; "" for all of them.
        known: names that are passed over.

    Raises:
        DamagedFileError: one is not valid.
    """
    folder = f"runs/{run}" if run else "runs"

    def read(path: str) -> tuple[str, dict[str, Any]]:
        return files.name(path), load(output, f"{folder}/{path}", _Values) or {}

    return at_once(read, (path for path in note_files(output, run) if files.name(path) not in known))


def note_files(output: str, run: str = "") -> Iterator[str]:
    """The notes of a run, or of all of them, by their paths below `runs/`, or below the run's folder there."""
    paths = files.list_files(files.join(output, "runs", run))
    return (path for path in paths if _NOTE.fullmatch(files.name(path)))


def check_note(output: str, path: str) -> None:
    """A note below `runs/` is valid.

    Raises:
        DamagedFileError: it is not.
    """
    load(output, f"runs/{path}", _Values)


def note(output: str, run: str, name: str, **values: float | list[str]) -> None:
    """Note what a part or a reader has done in a run; done again, the note is replaced."""
    write_json(files.join(output, "runs", run, f"{name}.json"), values)


def held_by(records: Iterable[commits.Commit | None]) -> Counter[str]:
    """What parts hold by their commit records, by the names of their counts."""
    held = Counter({"dead_lettered": 0})
    for commit in records:
        held.update(commit.counts if commit else {})
    return held


def settle(output: str, run: str, plan: parts.Plan, done: str, holder: str = "") -> Books:
    """Close the books of a run: what was read at the source must be what the parts account for and hold.

    The run has written each part or has read it through and found it intact, so their files are not read again.

    Args:
        output: directory of the output.
        run: the run's start.
        plan: of the output.
        done: name of the count of good records in this run's notes, as "labelled".
        holder: the run that must still hold the output (`mmstream.lock`); "" where nothing does.

    Raises:
        MmstreamError: they do not balance, or another job has taken the output over.
    """
    lock.check(output, holder)
    noted = Run(output, run)
    totals = noted.read()
    held, missing = Counter({"dead_lettered": 0}), list[str]()
    for part, commit in enumerate(commits.every_recorded(output, plan.parts)):
        if commit:
            held.update(commit.counts)
        else:
            missing.append(parts.part_name(part))
    books = Books.of(totals, totals["rows"], done, noted.damaged, held)
    accounted = books.done + books.dead_lettered + books.skipped
    of_this_input = held.total() - books.kept
    if missing or not books.read == totals.get("read") == accounted == of_this_input:
        raise MmstreamError(
            f"the books of {output} do not balance: {books.read} read at the source, {totals.get('read')} reached the "
            f"parts, {accounted} accounted for, {of_this_input} held, parts without a commit record: "
            f"{missing or 'none'}. Something else has changed the output while this job ran, or a worker was lost. "
            f"Run the same command again, then `mmstream audit {output}`. {repair_hint(output)}"
        )
    return books
