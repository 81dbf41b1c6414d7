"""Temporary folders of processes that were killed are removed by the next one; nobody else's is touched."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmstream.runtime import scratch

HOLDS = """
import sys
from mmstream.runtime import scratch
with scratch.folder() as folder:
    (folder / "inside").mkdir()
    (folder / "inside" / "file").write_text("x")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def start(temporary):
    env = {**os.environ, "TMPDIR": str(temporary)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", HOLDS], env=env, text=True, **pipes)
    return process, process.stdout.readline().strip()


def test_a_folder_lives_as_long_as_its_block(temporary):
    with scratch.folder() as folder:
        assert folder.is_dir()
        assert folder.parent == temporary
    assert not list(temporary.iterdir())


def test_the_folder_of_a_process_that_was_killed_is_removed_by_the_next_and_one_that_is_held_stays(temporary):
    (killed, left), (living, held) = start(temporary), start(temporary)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    killed.stdin.close()
    assert Path(left).is_dir()
    with scratch.folder() as folder:
        assert sorted(map(str, temporary.iterdir())) == sorted([str(folder), held])
    living.communicate()
    assert not list(temporary.iterdir())


def test_what_was_never_held_or_is_no_folder_or_a_link_stays(temporary):
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".held").touch()
    (temporary / "mmstream-link").symlink_to(elsewhere)
    (temporary / "mmstream-file").touch()
    (temporary / "mmstream-never-held").mkdir()
    (temporary / "mmstream-lock-is-a-link").mkdir()
    (temporary / "mmstream-lock-is-a-link" / ".held").symlink_to(elsewhere / ".held")
    before = sorted(temporary.rglob("*"))
    scratch.sweep()
    assert sorted(temporary.rglob("*")) == before


def test_the_folder_of_another_user_stays(temporary, monkeypatch):
    (temporary / "mmstream-theirs").mkdir()
    (temporary / "mmstream-theirs" / ".held").touch()
    monkeypatch.setattr(scratch.os, "getuid", lambda: os.geteuid() + 1)
    scratch.sweep()
    assert (temporary / "mmstream-theirs").exists()
    monkeypatch.undo()


def test_a_lock_is_held_before_anybody_can_see_it(temporary, monkeypatch):
    seen = []
    flock = fcntl.flock

    def look(file, how):
        seen.append([path.name for path in temporary.glob("mmstream-*/.held")])
        flock(file, how)

    monkeypatch.setattr(scratch.fcntl, "flock", look)
    with scratch.folder():
        assert seen == [[]]
