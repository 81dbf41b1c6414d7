"""Parts are committed whole or not at all, onto what was read, and an output belongs to one command."""

from __future__ import annotations

import errno
import json
import shutil

import pytest

from mmstream.errors import MmstreamError
from mmstream.outputs import commit_records, commits, lock, ownership
from mmstream.storage import files

ROWS = "labels/part-00000.x"


@pytest.fixture
def output(tmp_path):
    folder = str(tmp_path / "out")
    ownership.open_output(folder, "label", 2500)
    return folder


def commit(output, content=b"rows", run=""):
    counts = {"labelled": 1, "dead_lettered": 0}
    onto = commit_records.recorded(output, 0)
    return commits.commit_part(output, 0, "f1", counts, {ROWS: content}, parts=4, onto=onto, run=run)


def held(output):
    """What part 0 holds, None where it is damaged or not there."""
    record = commit_records.recorded(output, 0)
    return commit_records.read_files(output, record).sound.get(ROWS) if record else None


def test_the_plan_is_made_once_and_reused(output):
    assert ownership.open_output(output, "label", 1_000_000).parts == 4


def test_a_directory_of_another_command_is_refused(output):
    with pytest.raises(MmstreamError, match="is the output of `mmstream label`"):
        ownership.open_output(output, "preprocess", 10)


def test_a_directory_that_holds_something_else_is_refused_and_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(MmstreamError, match="holds something that"):
        ownership.open_output(str(tmp_path), "label", 10)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_committed_part_is_found_again(output):
    assert commit_records.recorded(output, 0) is None
    assert commit(output) == commit_records.recorded(output, 0)
    assert commit_records.recorded(output, 0).counts == {"labelled": 1, "dead_lettered": 0}
    assert held(output) == b"rows"


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: path.write_bytes(b"other"), "is not what was committed: its checksum differs"),
        (lambda path: path.unlink(), "is not there"),
    ],
)
def test_a_file_that_was_changed_or_removed_is_damaged(output, tmp_path, damage, problem):
    record = commit(output)
    damage(tmp_path / "out" / ROWS)
    assert commit_records.read_files(output, record) == ({}, {ROWS: problem})
    assert commit_records.damaged_files(output, record) == {ROWS: problem}


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "null", "[]", "{}", '{"part": 0}', '"text"', "1"),
        '{"part": 1, "fingerprint": "f", "counts": {}, "checksums": {}}',
        '{"part": 0, "fingerprint": "f", "counts": {"labelled": -1}, "checksums": {}}',
        '{"part": 0, "fingerprint": "f", "counts": {"labelled": "1"}, "checksums": {}}',
        '{"part": 0, "fingerprint": "f", "counts": {}, "checksums": {"../../../etc/passwd": "' + 64 * "0" + '"}}',
        '{"part": 0, "fingerprint": "f", "counts": {}, "checksums": {"labels/part-00000.x": "0"}}',
        '{"part": 0, "fingerprint": 7, "counts": {}, "checksums": {}}',
    ],
)
def test_a_record_that_is_none_ends_the_job_with_a_way_out(output, tmp_path, content):
    commit(output)
    (tmp_path / "out/parts/part-00000.json").write_text(content)
    with pytest.raises(MmstreamError, match=r"part-00000.json is damaged: .*`mmstream repair") as raised:
        commit(output, b"other")
    assert len(str(raised.value)) < 1000
    assert (tmp_path / "out" / ROWS).read_bytes() == b"rows"


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ESTALE, errno.EACCES, errno.ETIMEDOUT])
@pytest.mark.parametrize("name", ["parts/part-00000.json", ROWS])
def test_what_cannot_be_read_is_not_taken_for_absent_or_damaged(output, monkeypatch, number, name):
    record = commit(output)
    open_read = files.open_read

    def refuse(path):
        if path.endswith(name):
            raise OSError(number, "planted", path)
        return open_read(path)

    monkeypatch.setattr(files, "open_read", refuse)
    with pytest.raises(OSError, match="planted"):
        commit_records.recorded(output, 0) and commit_records.read_files(output, record)
    with pytest.raises(OSError, match="planted"):
        commit_records.recorded(output, 0) and commit_records.damaged_files(output, record)


@pytest.mark.parametrize("fails", [1, 3])
def test_a_read_that_fails_for_a_moment_is_tried_again(output, monkeypatch, fails):
    commit(output)
    open_read, left = files.open_read, iter(range(fails))

    def refuse(path):
        if next(left, None) is not None:
            raise OSError(errno.EMFILE, "planted", path)
        return open_read(path)

    monkeypatch.setattr(files, "open_read", refuse)
    assert commit_records.recorded(output, 0).counts["labelled"] == 1


@pytest.mark.parametrize(
    ("function", "calls", "found"),
    [
        *(("write_bytes", 0, b"old"), ("write_bytes", 1, b"old"), ("move", 0, b"rows"), ("write_bytes", 2, b"rows")),
        ("remove", 0, b"rows"),
    ],
)
def test_a_commit_that_is_interrupted_leaves_the_old_part_or_the_new_one(
    output, tmp_path, monkeypatch, function, calls, found
):
    commit(output, b"old")
    call, left = getattr(files, function), iter(range(calls))

    def interrupted(*arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        call(*arguments)

    monkeypatch.setattr(files, function, interrupted)
    with pytest.raises(KeyboardInterrupt):
        commit(output)
    monkeypatch.undo()
    commits.finish(output, 0, "")
    assert held(output) == found
    commits.recover(output)
    assert held(output) == found
    assert [path.name for path in (tmp_path / "out/parts").iterdir() if "part-" not in path.name] == ["plan.json"]
    assert not list((tmp_path / "out").rglob(".*"))


def interrupt_commit(output, monkeypatch, content=b"new", run="", at="move"):
    """Begin a commit, and die when it is announced."""
    with monkeypatch.context() as patched:
        patched.setattr(files, at, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            commit(output, content, run)


def test_a_commit_whose_files_somebody_else_has_removed_is_given_up(output, monkeypatch):
    commit(output, b"old")
    interrupt_commit(output, monkeypatch)
    files.sweep(output)
    commits.finish(output, 0, "")
    assert held(output) == b"old"
    assert commits.pending(output) == []


def test_a_commit_whose_files_cannot_be_read_is_not_given_up(output, monkeypatch):
    commit(output, b"old")
    interrupt_commit(output, monkeypatch)
    open_read = files.open_read
    with monkeypatch.context() as patched:
        patched.setattr(
            files,
            "open_read",
            lambda path: (
                open_read(path) if "parts" in path else (_ for _ in ()).throw(OSError(errno.EACCES, "planted"))
            ),
        )
        with pytest.raises(OSError, match="planted"):
            commits.recover(output)
    commits.recover(output)
    assert held(output) == b"new"


def test_what_a_killed_process_left_half_written_is_swept_away(output, tmp_path):
    left = tmp_path / "out/labels/.part-00000.x.4711.mmstream-tmp"
    left.parent.mkdir()
    left.write_bytes(b"half")
    ownership.open_output(output, "label", 1)
    assert not left.exists()


def test_commit_records_do_not_depend_on_the_run(output, tmp_path):
    commit(output)
    record = json.loads((tmp_path / "out/parts/part-00000.json").read_text())
    assert set(record) == {"part", "fingerprint", "counts", "checksums", "inputs", "parts"}


def test_a_part_that_somebody_else_has_changed_is_not_overwritten(output, tmp_path):
    onto = commit(output)
    commit(output, b"of somebody else")
    with pytest.raises(MmstreamError, match="was changed by another worker"):
        commits.commit_part(output, 0, "f1", {"labelled": 2}, {ROWS: b"mine"}, parts=4, onto=onto)
    assert commits.pending(output) == []
    commits.recover(output)
    assert held(output) == b"of somebody else"


@pytest.mark.parametrize("at", ["beside", "announced"])
def test_a_job_that_paused_while_another_took_over_commits_nothing(output, monkeypatch, at):
    """The pause lies between the last look at the lock and the announcement, or just behind that."""
    commit(output, b"old")
    write_bytes = files.write_bytes
    one, other = lock.held(output, "one"), lock.held(output, "other", take_over=True)

    def pause(path, data):
        if "next-" in path:
            monkeypatch.undo()
            if at == "announced":
                write_bytes(path, data)
            other.__enter__()
            commits.recover(output)
            commit(output, b"of the other", "other")
            if at == "announced":
                return
        write_bytes(path, data)

    with one:
        monkeypatch.setattr(files, "write_bytes", pause)
        with pytest.raises(MmstreamError, match="was taken over by process"):
            commit(output, b"of the one", "one")
    assert held(output) == b"of the other"
    assert commits.pending(output) == []
    other.__exit__(None, None, None)
    commits.recover(output)
    assert held(output) == b"of the other"


def test_what_a_job_announced_that_was_killed_after_another_had_taken_over_is_given_up(output, tmp_path, monkeypatch):
    commit(output, b"old")
    interrupt_commit(output, monkeypatch, b"of the one", "")
    shutil.copytree(output, tmp_path / "as announced")
    commits.recover(output)
    commit(output, b"of the other")
    for name in ("parts/next-00000.json", "labels/.part-00000.x.mmstream-tmp"):
        shutil.copy(tmp_path / "as announced" / name, tmp_path / "out" / name)
    commits.recover(output)
    assert held(output) == b"of the other"
    assert not list((tmp_path / "out").rglob(".*"))


def test_an_announcement_of_before_runs_were_named_is_finished(output, tmp_path, monkeypatch):
    commit(output, b"old")
    interrupt_commit(output, monkeypatch)
    announced = tmp_path / "out/parts/next-00000.json"
    about = json.loads(announced.read_text())
    announced.write_text(
        json.dumps({key: about[key] for key in ("part", "fingerprint", "counts", "checksums", "inputs")})
    )
    commits.recover(output)
    assert held(output) == b"new"
