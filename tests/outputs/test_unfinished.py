"""Workers that nobody watches note what they begin with, and try alone the records that others have died with."""

from __future__ import annotations

import contextlib
import importlib

import pytest

from mmstream.outputs.unfinished import begun
from mmstream.records.record import DeadLetter, Record
from mmstream.runtime import alive
from mmstream.supervision import worker

DYING = """
import os

class Dying:
    steps = ("read",)

    def prepare(self):
        pass

    def take(self, step, record):
        if record.id == "bad":
            os.abort()
        if record.id == "wrong":
            raise ValueError("the job's affair")
"""
RECORDS = [Record(name, f"table.jsonl:{n}", {}) for n, name in enumerate(("good", "wrong", "bad", "fine"), 1)]
BAD = RECORDS[2]


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Begins with records of part 3, and ends with an error, if given; gives the ids that are passed over."""
    (tmp_path / "dying.py").write_text(DYING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # the child that tries records imports it, too
    trial = importlib.import_module("dying").Dying()

    def on(records=RECORDS, error=None, part=3):
        with contextlib.suppress(OSError, MemoryError), begun(str(tmp_path / "out"), part, records, trial, 60.0):
            passed_over = [record.id for record in RECORDS if worker.verdict_on(record)]
            if error:
                raise error
        return passed_over

    return on


@pytest.fixture
def notes(tmp_path):
    return lambda: [path.name for path in (tmp_path / "out" / "unfinished").iterdir()]


DEATH = MemoryError()
"""As good as one: the note stays."""
FAILURE = OSError("the disk is full")


def test_the_record_that_others_have_died_with_is_passed_over(work, notes):
    assert [work(error=DEATH), work(error=DEATH)] == [[], []]
    assert notes() == ["part-00003.json"]
    assert work(part=4) == [], "nobody has died of this part"
    assert work() == ["bad"]
    assert notes() == []
    assert worker.verdict_on(BAD) is None, "its file may be mended, and come again"


def test_other_batches_of_the_part_change_nothing(work, notes):
    for _ in range(2):
        assert work(RECORDS[:2]) == []
        assert work([BAD], DEATH) == []
    assert work(RECORDS[:2]) == []
    assert work([BAD]) == ["bad"]
    assert notes() == []


def test_what_fails_has_not_died_and_does_not_forget_who_has(work, notes):
    assert [work(error=FAILURE) for _ in range(4)] == [[]] * 4
    assert notes() == []
    assert [work(error=error) for error in (DEATH, FAILURE, DEATH)] == [[]] * 3
    assert [work(error=FAILURE), work()] == [["bad"], ["bad"]]
    assert notes() == []


def test_a_part_without_records_is_not_noted(work, tmp_path):
    assert (
        work([DeadLetter(origin="table.jsonl:1", stage="read", error="ValueError", message="no", row="", digest="")])
        == []
    )
    assert not (tmp_path / "out").exists()


def test_whom_a_supervisor_watches_notes_nothing(work, tmp_path, monkeypatch):
    monkeypatch.setenv(alive.FOLDER, str(tmp_path))
    assert work(error=DEATH) == []
    assert not (tmp_path / "out").exists()
