"""A child that is asked to end gets the grace that was agreed on, and no more; a second signal ends it at once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from mmstream.supervision import children, supervisor
from mmstream.supervision.children import Children

DEAF = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
with open({ready!r} + ".new", "w") as file:
    file.write(str(other.pid))
os.rename({ready!r} + ".new", {ready!r})
time.sleep(1000)
"""


class Clock:
    """Goes on by as much as a test says, each time that it is looked at."""

    def __init__(self, *steps: float) -> None:
        self._steps = list(steps)
        self.now = 0.0

    def __call__(self) -> float:
        self.now += self._steps.pop(0) if self._steps else 0.0
        return self.now


def start_deaf(made: Children, folder: Path):
    """A child that ignores SIGTERM and has one of its own, once it does."""
    ready = folder / "ready"
    return made.start(["-c", DEAF.format(ready=str(ready))]), ready


def wait_for(path: Path) -> int:
    while not path.exists():
        os.sched_yield()
    return int(path.read_text())


def wait_for_the_end_of(process: int) -> None:
    while is_alive(process):
        os.sched_yield()


def is_alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_a_child_that_ignores_the_signal_is_killed_once_its_grace_is_over_with_all_that_it_started(tmp_path):
    clock = Clock(0, 1.9, 0.2)  # asked; looked again; and again
    made = Children(tmp_path, 100, grace_seconds=2, clock=clock)
    starting, ready = start_deaf(made, tmp_path)
    with starting as process:
        other = wait_for(ready)
        made.ask_to_end(signal.SIGTERM)
        assert made.wait(process) == -signal.SIGKILL
    assert clock.now == pytest.approx(2.1)
    wait_for_the_end_of(other)


def test_a_second_signal_kills_a_child_at_once(tmp_path):
    clock = Clock()  # stands still: no grace is ever over
    made = Children(tmp_path, 100, grace_seconds=2, clock=clock)
    starting, ready = start_deaf(made, tmp_path)
    with starting as process:
        other = wait_for(ready)
        made.ask_to_end(signal.SIGTERM)
        made.ask_to_end(signal.SIGINT)
        assert made.wait(process) == -signal.SIGKILL
    assert made.asked == signal.SIGINT
    wait_for_the_end_of(other)


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        (["label", "model", "--output", "watch"], 2),
        (["preprocess", "config.yaml"], 2),
        (["label", "model", "--watch"], 15),
        (["label", "--wat", "model"], 15),
        (["label", "--", "model"], 2),
    ],
)
def test_a_job_has_little_grace_for_each_of_its_states_is_safe_and_a_watch_has_more(monkeypatch, arguments, seconds):
    given = []

    class Recording(Children):
        def __init__(self, folder, stall_seconds, grace_seconds) -> None:
            super().__init__(folder, stall_seconds, grace_seconds)
            given.append((stall_seconds, grace_seconds))

        def start(self, arguments):
            (self._folder / "ended").write_text("0")
            return super().start(["-c", ""])

    monkeypatch.setattr(supervisor, "Children", Recording)
    assert supervisor.supervise(arguments, 600) == 0
    assert given == [(600, seconds)]
    assert children.GRACE_SECONDS == 2
