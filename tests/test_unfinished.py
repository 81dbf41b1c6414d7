"""Workers that nobody watches note the parts they begin, and try the records alone of which others have died."""

from __future__ import annotations

import importlib

import pytest

from mmstream import worker
from mmstream.records import DeadLetter, Record
from mmstream.unfinished import begun

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


@pytest.fixture
def trial(tmp_path, monkeypatch):
    """Is killed by a record; the child that it is tried in can import it."""
    monkeypatch.setattr(worker, "_own_verdicts", {})
    (tmp_path / "dying.py").write_text(DYING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return importlib.import_module("dying").Dying()


def condemned():
    return [record.id for record in RECORDS if worker.verdict_on(record)]


def fail(out, trial, error):
    with begun(out, 3, RECORDS, trial):
        assert condemned() == []
        raise error


def test_the_record_that_others_have_died_of_is_passed_over(trial, tmp_path):
    out = str(tmp_path / "out")
    for _ in range(2):
        with pytest.raises(MemoryError):  # as good as a death
            fail(out, trial, MemoryError())
    with begun(out, 4, RECORDS, trial):
        assert condemned() == [], "nobody has died of this part"
    with begun(out, 3, RECORDS, trial):
        assert condemned() == ["bad"]
        assert worker.verdict_on(RECORDS[2]).error == "Killed"
    assert not list((tmp_path / "out" / "unfinished").iterdir())


def test_what_fails_has_not_died_of_it(trial, tmp_path):
    out = str(tmp_path / "out")
    for _ in range(4):
        with pytest.raises(OSError, match="the disk is full"):
            fail(out, trial, OSError("the disk is full"))
    assert not list((tmp_path / "out" / "unfinished").iterdir())


def test_a_part_without_records_is_not_noted(trial, tmp_path):
    letter = DeadLetter("", "table.jsonl:1", "read", "", "", "ValueError", "no", "", "")
    with begun(str(tmp_path / "out"), 3, [letter], trial):
        assert not (tmp_path / "out").exists()
