"""A small parent of the process that works: it restarts it, ends it when it hangs, and finds the record to blame.

The worker notes which records it has in hand (`mmstream.worker`). When it dies, each of these is tried alone in a child
process (`mmstream.probe`), and only a record that kills that child, too, or that hangs in it, is passed over from then
on and becomes a dead letter. A worker that was killed from outside leaves only innocent records, and is started again;
one that was merely slow gets twice the time. A worker that hangs while it lists or reads something (`mmstream.alive`),
when no record is to blame yet, ends the command.
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

from mmstream import alive, scratch, terminal, worker
from mmstream.children import GRACE_SECONDS, Children, cause, end
from mmstream.records import Record
from mmstream.worker import Verdict

_MOST_UNEXPLAINED = 5
"""So many deaths in a row, without a record to blame and before anything was finished, end the command."""
_WATCH = "--watch"
_WATCH_GRACE_SECONDS = 15
"""How long a worker that watches may take to end when it is asked to: it labels what it has in hand first."""


def supervise(argv: Sequence[str], stall_seconds: float) -> int:
    """Run an `mmstream` command in a worker process until it ends of itself; returns its exit code.

    Args:
        argv: the command line, without the program.
        stall_seconds: after so long with the same records in hand a worker counts as hung.
    """
    watches = any(len(word) > 2 and _WATCH.startswith(word) for word in argv)  # a flag may be cut short
    with scratch.folder() as folder:
        return _Supervisor(folder, stall_seconds, _WATCH_GRACE_SECONDS if watches else GRACE_SECONDS).run(argv)


class _Ending(NamedTuple):
    """How a worker ended.

    Attributes:
        code: its return code.
        stalled: whether it hung with records in hand.
        step: what it hung at while it listed or read something; "" if it did not.
    """

    code: int
    stalled: bool = False
    step: str = ""


class _Supervisor:
    """Of one command.

    Args:
        folder: of the notes.
        stall_seconds: see `supervise`.
        grace_seconds: how long a worker may take to end when it is asked to.
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
                    return _give_up_at(step, f"was not done after {children.stall:g} s (--stall-timeout)")
                terminal.say(
                    f"the worker process {_how_it_ended(code, stalled, children.stall)}; looking for the reason"
                )
                got_on = children.marked(worker.GOT_ON)
                found = {k: v for k, v in children.blame(self._suspects()).items() if k not in self._verdicts}
                if children.asked:
                    return terminal.stopped(children.asked)
                unexplained = 0 if found or got_on else unexplained + 1
                again, steps = sorted(steps & children.steps()), children.steps()
                if again and unexplained > 1 and not stalled:
                    return _give_up_at(again[0], f"has ended the worker process twice ({cause(code)})")
                if unexplained == _MOST_UNEXPLAINED:
                    terminal.fail(
                        f"mmstream: the worker process died {unexplained} times, and no record that it had in hand is "
                        "to blame; is this machine short of memory? The same command goes on from here"
                    )
                    return 1
                for key, verdict in found.items():
                    terminal.say(f"quarantined {json.loads(key)[0]!r}: {verdict.message}")
                if stalled and not found and children.stall < self._most_patience:
                    children.stall *= 2
                    terminal.say(
                        f"no record hangs; this machine is slow, and a worker may take {children.stall:g} s from now on"
                    )
                self._verdicts |= found
                (self._folder / "verdicts.json").write_text(json.dumps(self._verdicts))
                terminal.say("starting a new worker process, which goes on where the last one was")

    def _work(self, argv: Sequence[str]) -> _Ending:
        """Run a worker to its end."""
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
        """While the block runs, what asks this process to end asks its child."""

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
        """What the worker had in hand, each record once."""
        records: dict[str, Record] = {}
        for note in self._notes():
            with contextlib.suppress(EOFError, pickle.UnpicklingError):  # it died before it had written it
                records |= {worker.key_of(record): record for record in pickle.loads(note.read_bytes())}
        return [records[key] for key in sorted(records)]


def _give_up_at(step: str, what_happened: str) -> int:
    """Say that a command ends for what its worker listed or read; returns the exit code."""
    terminal.fail(
        f"mmstream: {step} {what_happened}; it may be damaged, or what it lies on does not answer. Mend it or leave it "
        "out, or allow more time; the same command goes on from here"
    )
    return 1


def _how_it_ended(code: int, stalled: bool, seconds: float) -> str:
    if stalled:
        return f"had the same records in hand for {seconds:g} s and was ended"
    return "has no memory left" if code == worker.OUT_OF_MEMORY else f"was ended by {cause(code)}"
