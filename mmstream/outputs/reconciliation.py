"""Reconciliation: a run must have read as many records as its parts account for and hold.

The counts come from the notes of its readers and parts (`mmstream.outputs.run_notes`), and from commit records.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping

from mmstream.errors import MmstreamError, repair_hint
from mmstream.outputs import commit_records, lock, parts, run_notes
from mmstream.preprocessing.lookups import Counts


@dataclasses.dataclass(frozen=True)
class Reconciliation:
    """The outcome of a run, in numbers of records.

    Attributes:
        read: rows that the source gave.
        done: records labelled, or turned into examples, in this run.
        dead_lettered: records that became dead letters in this run.
        skipped: records whose results were kept from an earlier run.
        letters: dead letters of these records, from this run or an earlier one.
        kept: rows and letters of other inputs that the output still holds.
        pruned: rows and letters of other inputs that this run removed.
        of_another_model: how many of the kept rows and letters another model made.
        lost: the least number of rows and letters of other inputs that were in damaged files.
        smaller_batch: the batch size after memory had run out; 0 if it has not.
        lookups: which of the values that were labelled in this run the model knows.
        damaged: files that were not as an earlier run had committed them, and what is wrong with each.
        held: what the output holds now, including dead letters, by the names of its parts' counts, such as "labelled"
            or "train".
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
    lookups: Counts
    damaged: list[str]
    held: Counter[str]

    @classmethod
    def of(
        cls, totals: Mapping[str, int], read: int, done: str, lookups: Counts, damaged: list[str], held: Counter[str]
    ) -> Reconciliation:
        """Make a reconciliation from the totals of the parts' notes.

        Args:
            totals: the totals by name; a missing one counts as 0.
            read: rows that the source gave.
            done: the name of the count of good records, such as "labelled".
            lookups: see `Reconciliation`.
            damaged: see `Reconciliation`.
            held: see `Reconciliation`.
        """
        return cls(
            read=read,
            done=totals.get(done, 0),
            dead_lettered=totals.get("dead_lettered", 0),
            skipped=totals.get("skipped", 0),
            letters=totals.get("letters", 0),
            kept=totals.get("kept", 0),
            pruned=totals.get("pruned", 0),
            of_another_model=totals.get("of_another_model", 0),
            lost=totals.get("lost", 0),
            smaller_batch=totals.get("smaller_batch", 0),
            lookups=lookups,
            damaged=damaged,
            held=held,
        )

    @property
    def committed_letters(self) -> int:
        """The number of dead letters that the output holds now."""
        return self.held["dead_lettered"]

    @property
    def committed(self) -> int:
        """The number of rows or examples that the output holds now."""
        return sum(self.held.values()) - self.committed_letters


def held_by(records: Iterable[commit_records.Commit | None]) -> Counter[str]:
    """Sum up what parts hold, by the counts in their commit records."""
    held = Counter({"dead_lettered": 0})
    for commit in records:
        held.update(commit.counts if commit else {})
    return held


def reconcile(output: str, run: str, plan: parts.Plan, done: str, holder: str = "") -> Reconciliation:
    """Reconcile a run: as many records must have been read at the source as the parts account for and hold.

    The run has written each part, or has read it and found it intact, so no files are read again.

    Args:
        output: the output directory.
        run: the run's start.
        plan: the plan of the output.
        done: the name of the count of good records in this run's notes, such as "labelled".
        holder: the run that must still hold the output (`mmstream.outputs.lock`); "" if none must.

    Raises:
        MmstreamError: the counts differ, or another job has taken the output over.
    """
    lock.check(output, holder)
    notes = run_notes.Totals(output, run)
    totals = notes.read()
    held, missing = Counter({"dead_lettered": 0}), list[str]()
    for part, commit in enumerate(commit_records.every_recorded(output, plan.parts)):
        if commit:
            held.update(commit.counts)
        else:
            missing.append(parts.part_name(part))
    result = Reconciliation.of(totals, totals["rows"], done, notes.lookups, notes.damaged, held)
    accounted = result.done + result.dead_lettered + result.skipped
    of_this_input = held.total() - result.kept
    if missing or not result.read == totals.get("read") == accounted == of_this_input:
        raise MmstreamError(
            f"the counts of {output} do not add up: {result.read} read at the source, {totals.get('read')} reached the "
            f"parts, {accounted} accounted for, {of_this_input} held by the parts; parts without a commit record: "
            f"{missing or 'none'}. Something else changed the output while this job ran, or a worker was lost. "
            f"Run the same command again, then `mmstream audit {output}`. {repair_hint(output)}"
        )
    return result
