"""A small parent process that restarts the worker process, ends it if it hangs, and finds the record at fault.

The worker notes which records it is processing (`worker`). When it dies, each of these is tried alone in a child
process (`probe`); a record that kills that child as well, or hangs in it, is skipped from then on and becomes a dead
letter. If no record does, the worker was killed from outside and is started again, or it was merely slow and gets twice
the time. If the worker hangs while it lists or reads something (`mmstream.runtime.alive`), before there are records,
the command ends.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from mmstream import terminal
from mmstream.records.record import Record
from mmstream.runtime import alive, scratch
from mmstream.supervision import worker
from mmstream.supervision.children import GRACE_SECONDS, Children, cause, end
from mmstream.supervision.worker import Verdict

_MOST_UNEXPLAINED = 5
"""The command ends after this many deaths in a row with no record at fault and nothing finished in between."""
_WATCH = "--watch"
_WATCH_GRACE_SECONDS = 15
"""How many seconds a worker that watches an input may take to end when asked to: it first finishes its current
records."""


def supervise(argv: Sequence[str], stall_seconds: float) -> int:
    """Run an `mmstream` command in a worker process until it ends of its own accord; returns its exit code.

    Args:
        argv: the command line, without the program's name.
        stall_seconds: how long a worker may process the same records before it counts as hung.
    """
    watches = any(len(word) > 2 and _WATCH.startswith(word) for word in argv)  # a flag may be abbreviated
    with scratch.folder() as folder:
        return _Supervisor(folder, stall_seconds, _WATCH_GRACE_SECONDS if watches else GRACE_SECONDS).run(argv)


class _Ending(NamedTuple):
    """How a worker ended.

    Attributes:
        code: its return code.
        stalled: whether it hung while it processed records.
        step: what it was listing or reading when it hung; "" if it was not.
    """

    code: int
    stalled: bool = False
    step: str = ""


class _Supervisor:
    """The supervisor of one command.

    Args:
        folder: the folder for notes.
        stall_seconds: see `supervise`.
        grace_seconds: how long a worker may take to end when asked to.
    """

    def __init__(self, folder: Path, stall_seconds: float, grace_seconds: float) -> None:
        self._folder = folder
        self._children = Children(folder, stall_seconds, grace_seconds)
        self._most_patience = 2**_MOST_UNEXPLAINED * stall_seconds
        self._verdicts: dict[str, Verdict] = {}

    def run(self, argv: Sequence[str]) -> int:
        unexplained, children = 0, self._children
        steps: set[str] = set()
        with self._signals():
            while True:
                code, stalled, step = self._work(argv)
                if children.marked(worker.ENDED):
                    return int((self._folder / worker.ENDED).read_text() or code)
                if children.asked:
                    return terminal.stopped(children.asked)
                if step:
                    return _give_up_at(step, f"did not finish within {children.stall:g} s (--stall-timeout)")
                terminal.say(
                    f"the worker process {_how_it_ended(code, stalled, children.stall)}; looking for the reason"
                )
                got_on = children.marked(worker.GOT_ON)
                verdicts = {k: v for k, v in children.blame(self._suspects()).items() if k not in self._verdicts}
                if children.asked:
                    return terminal.stopped(children.asked)
                unexplained = 0 if verdicts or got_on else unexplained + 1
                again, steps = sorted(steps & children.steps()), children.steps()
                if again and unexplained > 1 and not stalled:
                    return _give_up_at(again[0], f"has ended the worker process twice ({cause(code)})")
                if unexplained == _MOST_UNEXPLAINED:
                    terminal.fail(
                        f"mmstream: the worker process died {unexplained} times, and none of the records that it was "
                        "processing is at fault; is this machine short of memory? Run the same command again "
                        "to continue"
                    )
                    return 1
                for key, verdict in verdicts.items():
                    terminal.say(f"quarantined {json.loads(key)[0]!r}: {verdict.message}")
                if stalled and not verdicts and children.stall < self._most_patience:
                    children.stall *= 2
                    terminal.say(
                        f"no record hangs, so this machine is slow; from now on a worker may take {children.stall:g} s"
                    )
                self._verdicts |= verdicts
                (self._folder / "verdicts.json").write_text(json.dumps(self._verdicts))
                terminal.say("starting a new worker process, which continues where the last one stopped")

    def _work(self, argv: Sequence[str]) -> _Ending:
        """Run a worker until it ends."""
        marks = (self._folder / worker.ENDED, self._folder / worker.GOT_ON)
        for path in (*self._notes(), *self._folder.glob(alive.STEPS), *marks):
            path.unlink(missing_ok=True)
        with self._children.start(["-m", "mmstream.cli", *argv]) as process:
            while (code := self._children.wait(process)) is None:
                if any(self._children.has_stalled(note) for note in self._notes() if note.stat().st_size):
                    return _Ending(end(process), stalled=True)
                if step := self._children.stalled_step():
                    return _Ending(end(process), step=step)
            return _Ending(code)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Pass signals that ask this process to end on to its child, while the block runs."""

        def hand_on(number: int, frame: FrameType | None) -> None:
            self._children.ask_to_end(number)

        before = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _notes(self) -> Iterator[Path]:
        yield from self._folder.glob("thread-*")

    def _suspects(self) -> list[Record]:
        """Return the records that the worker was processing, each once."""
        records: dict[str, Record] = {}
        for note in self._notes():
            with contextlib.suppress(EOFError, pickle.UnpicklingError):  # the worker died while it wrote it
                records |= {worker.key_of(record): record for record in pickle.loads(note.read_bytes())}
        return [records[key] for key in sorted(records)]


def _give_up_at(step: str, what_happened: str) -> int:
    """Report that a command ends because of what its worker listed or read; returns the exit code."""
    terminal.fail(
        f"mmstream: {step} {what_happened}; a file may be damaged, or its disk may not be responding. Repair the file "
        "or leave it out, or allow more time; run the same command again to continue"
    )
    return 1


def _how_it_ended(code: int, stalled: bool, seconds: float) -> str:
    if stalled:
        return f"was ended after {seconds:g} s on the same records"
    return "ran out of memory" if code == worker.OUT_OF_MEMORY else f"was ended by {cause(code)}"
