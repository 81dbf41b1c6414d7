"""The notes of parts and readers are summed up, and reconciled with what an output holds."""

from __future__ import annotations

import pytest

from mmstream.errors import MmstreamError
from mmstream.outputs import commits, ownership, parts, reconciliation, run_notes

RUN = "2026-01-01T00-00-00.000000Z"


@pytest.fixture
def output(tmp_path):
    folder = str(tmp_path / "out")
    ownership.open_output(folder, "label", 2000)
    return folder


def label(output, part, count):
    made = {f"labels/{parts.part_name(part)}.x": b"rows"}
    commits.commit_part(output, part, "f1", {"labelled": count, "dead_lettered": 0}, made, parts=2, onto=None)
    run_notes.note(output, RUN, parts.part_name(part), read=count, labelled=count, damaged=[f"part {part} was damaged"])


def test_a_run_that_goes_on_is_read_on(output):
    run = run_notes.Totals(output, RUN)
    assert run.read() == {}
    run_notes.note(output, RUN, "part-00000", read=3, smaller_batch=16)
    assert run.read() == {"parts": 1, "read": 3, "smaller_batch": 16}
    run_notes.note(output, RUN, "part-00001", read=4, smaller_batch=8)
    run_notes.note(output, RUN, "read-00000", rows=7)
    assert run.read() == run.read() == {"parts": 2, "read": 7, "rows": 7, "smaller_batch": 8}


def test_counts_that_add_up_say_what_is_held_and_what_was_damaged(output):
    label(output, 0, 2)
    label(output, 1, 3)
    run_notes.note(output, RUN, "read-00000", rows=5)
    reconciled = reconciliation.reconcile(output, RUN, parts.read_plan(output), done="labelled")
    assert (reconciled.read, reconciled.done, reconciled.committed, reconciled.committed_letters) == (5, 5, 5, 0)
    assert sorted(reconciled.damaged) == ["part 0 was damaged", "part 1 was damaged"]


def test_a_record_that_nobody_accounts_for_is_reported(output):
    label(output, 0, 2)
    label(output, 1, 3)
    run_notes.note(output, RUN, "read-00000", rows=6)
    with pytest.raises(MmstreamError, match="6 read at the source, 5 reached the parts"):
        reconciliation.reconcile(output, RUN, parts.read_plan(output), done="labelled")


def test_a_part_without_a_commit_record_is_reported(output):
    label(output, 0, 2)
    run_notes.note(output, RUN, "read-00000", rows=2)
    with pytest.raises(MmstreamError, match="parts without a commit record: \\['part-00001'\\]"):
        reconciliation.reconcile(output, RUN, parts.read_plan(output), done="labelled")
