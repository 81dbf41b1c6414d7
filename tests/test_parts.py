"""Parts are committed whole or not at all, and an output belongs to one command."""

from __future__ import annotations

import json

import pytest

from mmstream import parts
from mmstream.errors import MmstreamError
from mmstream.records import split_of


@pytest.fixture
def output(tmp_path):
    folder = str(tmp_path / "out")
    parts.open_output(folder, "label", 2500)
    return folder


def commit(output, content=b"rows"):
    return parts.commit_part(output, 0, "f1", {"labelled": 1, "dead_lettered": 0}, {"labels/part-00000.x": content})


def test_the_plan_is_made_once_and_reused(output):
    assert parts.open_output(output, "label", 1_000_000).parts == 4


def test_a_directory_of_another_command_is_refused(output):
    with pytest.raises(MmstreamError, match="is the output of `mmstream label`"):
        parts.open_output(output, "preprocess", 10)


def test_a_directory_that_holds_something_else_is_refused_and_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(MmstreamError, match="holds something that"):
        parts.open_output(str(tmp_path), "label", 10)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_committed_part_is_found_again(output):
    assert parts.read_commit(output, 0) is None
    assert parts.read_commit(output, 0) != commit(output)
    assert parts.read_commit(output, 0).counts == {"labelled": 1, "dead_lettered": 0}


def test_a_part_whose_file_was_changed_does_not_count(output, tmp_path):
    commit(output)
    (tmp_path / "out/labels/part-00000.x").write_bytes(b"other")
    assert parts.read_commit(output, 0) is None


def test_a_part_with_a_damaged_commit_record_does_not_count(output, tmp_path):
    commit(output)
    (tmp_path / "out/parts/part-00000.json").write_text("{")
    assert parts.read_commit(output, 0) is None


@pytest.mark.parametrize(
    ("function", "calls", "found"),
    [("write_bytes", 0, b"old"), ("write_bytes", 1, b"old"), ("move", 0, b"rows"), ("move", 1, b"rows")],
)
def test_a_commit_that_is_interrupted_leaves_the_old_part_or_the_new_one(
    output, tmp_path, monkeypatch, function, calls, found
):
    commit(output, b"old")
    call, left = getattr(parts.files, function), iter(range(calls))

    def interrupted(*arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        call(*arguments)

    monkeypatch.setattr(parts.files, function, interrupted)
    with pytest.raises(KeyboardInterrupt):
        commit(output)
    monkeypatch.undo()
    parts.finish(output, 0)
    assert (tmp_path / "out/labels/part-00000.x").read_bytes() == found
    assert parts.read_commit(output, 0) is not None
    parts.open_output(output, "label", 1)
    assert (tmp_path / "out/labels/part-00000.x").read_bytes() == found
    assert parts.read_commit(output, 0) is not None
    assert [path.name for path in (tmp_path / "out/parts").iterdir() if "part-" not in path.name] == ["plan.json"]
    assert not list((tmp_path / "out").rglob(".*"))


def test_a_commit_whose_files_somebody_else_has_removed_is_given_up(output, tmp_path, monkeypatch):
    commit(output, b"old")
    monkeypatch.setattr(parts.files, "move", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        commit(output)
    monkeypatch.undo()
    parts.files.sweep(output)
    parts.finish(output, 0)
    assert (tmp_path / "out/labels/part-00000.x").read_bytes() == b"old"
    assert parts.read_commit(output, 0) is not None
    assert parts.pending(output) == []


def test_what_a_killed_process_left_half_written_is_swept_away(output, tmp_path):
    left = tmp_path / "out/labels/.part-00000.x.4711.mmstream-tmp"
    left.parent.mkdir()
    left.write_bytes(b"half")
    parts.open_output(output, "label", 1)
    assert not left.exists()


def test_commit_records_do_not_depend_on_the_run(output, tmp_path):
    commit(output)
    record = json.loads((tmp_path / "out/parts/part-00000.json").read_text())
    assert set(record) == {"part", "fingerprint", "counts", "checksums", "inputs"}


def test_parts_and_splits_of_a_record_are_unrelated():
    ids = [f"r{n}" for n in range(4000)]
    in_part = [i for i in ids if parts.part_of(i, 2) == 0]
    tested = sum(split_of(i, 0.1, 0.1) == "test" for i in in_part) / len(in_part)
    assert 0.08 < tested < 0.12


def test_a_part_that_somebody_else_has_changed_is_not_overwritten(output, tmp_path):
    onto = commit(output)
    commit(output, b"of somebody else")
    with pytest.raises(MmstreamError, match="was changed by another worker"):
        parts.commit_part(output, 0, "f1", {"labelled": 2}, {"labels/part-00000.x": b"mine"}, onto=onto)
    assert (tmp_path / "out/labels/part-00000.x").read_bytes() == b"of somebody else"
    assert parts.pending(output) == []
    parts.recover(output)
    assert parts.read_commit(output, 0).counts == {"labelled": 1, "dead_lettered": 0}
