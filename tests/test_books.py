"""What parts and readers of a run have noted is summed up."""

from __future__ import annotations

import pytest

from mmstream import books, commits, outputs, parts
from mmstream.errors import MmstreamError

RUN = "2026-01-01T00-00-00.000000Z"


@pytest.fixture
def output(tmp_path):
    folder = str(tmp_path / "out")
    outputs.open_output(folder, "label", 2000)
    return folder


def label(output, part, count):
    made = {f"labels/{parts.part_name(part)}.x": b"rows"}
    commits.commit_part(output, part, "f1", {"labelled": count, "dead_lettered": 0}, made, parts=2, onto=None)
    books.note(output, RUN, parts.part_name(part), read=count, labelled=count, damaged=[f"part {part} was damaged"])


def test_a_run_that_goes_on_is_read_on(output):
    run = books.Run(output, RUN)
    assert run.read() == {}
    books.note(output, RUN, "part-00000", read=3, smaller_batch=16)
    assert run.read() == {"parts": 1, "read": 3, "smaller_batch": 16}
    books.note(output, RUN, "part-00001", read=4, smaller_batch=8)
    books.note(output, RUN, "read-00000", rows=7)
    assert run.read() == run.read() == {"parts": 2, "read": 7, "rows": 7, "smaller_batch": 8}


def test_books_that_balance_say_what_is_held_and_what_was_damaged(output):
    label(output, 0, 2)
    label(output, 1, 3)
    books.note(output, RUN, "read-00000", rows=5)
    settled = books.settle(output, RUN, parts.read_plan(output), done="labelled")
    assert (settled.read, settled.done, settled.committed, settled.committed_letters) == (5, 5, 5, 0)
    assert sorted(settled.damaged) == ["part 0 was damaged", "part 1 was damaged"]


def test_a_record_that_nobody_accounts_for_is_told(output):
    label(output, 0, 2)
    label(output, 1, 3)
    books.note(output, RUN, "read-00000", rows=6)
    with pytest.raises(MmstreamError, match="6 read at the source, 5 reached the parts"):
        books.settle(output, RUN, parts.read_plan(output), done="labelled")


def test_a_part_without_a_commit_record_is_told(output):
    label(output, 0, 2)
    books.note(output, RUN, "read-00000", rows=2)
    with pytest.raises(MmstreamError, match="parts without a commit record: \\['part-00001'\\]"):
        books.settle(output, RUN, parts.read_plan(output), done="labelled")
