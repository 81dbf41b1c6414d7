"""A small parent of the process that works: it restarts it, ends it when it hangs, and finds the record to blame.

The worker notes which records it has in hand (`mmstream.worker`). When it dies, each of these is tried alone in a child
process (`mmstream.probe`), and only a record that kills that child, too, or that hangs in it, is passed over from then
on and becomes a dead letter. A worker that was killed from outside leaves only innocent records, and is started again;
one that was merely slow gets twice the time.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from mmstream import terminal, worker
from mmstream.children import Children, cause, end
from mmstream.records import Record
from mmstream.worker import Verdict

_MOST_UNEXPLAINED = 5
"""So many deaths in a row, without a record to blame and before anything was finished, end the command."""


def supervise(argv: Sequence[str], stall_seconds: float) -> int:
    """Run an `mmstream` command in a worker process until it ends of itself; returns its exit code.

    Args:
        argv: the command line, without the program.
        stall_seconds: after so long with the same records in hand a worker counts as hung.
    """
    with tempfile.TemporaryDirectory(prefix="mmstream-") as folder:
        return _Supervisor(Path(folder), stall_seconds).run(argv)


class _Supervisor:
    """Of one command.

    Args:
        folder: of the notes.
        stall_seconds: see `supervise`.
    """

    def __init__(self, folder: Path, stall_seconds: float) -> None:
        self._folder = folder
        self._children = Children(folder, stall_seconds)
        self._most_patience = 2**_MOST_UNEXPLAINED * stall_seconds
        self._verdicts: dict[str, Verdict] = {}

    def run(self, argv: Sequence[str]) -> int:
        unexplained, children = 0, self._children
        with self._signals():
            while True:
                code, stalled = self._work(argv)
                if children.marked(worker.ENDED):
                    return int((self._folder / worker.ENDED).read_text() or code)
                if children.asked:
                    return terminal.stopped(children.asked)
                terminal.say(
                    f"the worker process {_how_it_ended(code, stalled, children.stall)}; looking for the reason"
                )
                got_on = children.marked(worker.GOT_ON)
                found = {k: v for k, v in children.blame(self._suspects()).items() if k not in self._verdicts}
                if children.asked:
                    return terminal.stopped(children.asked)
                unexplained = 0 if found or got_on else unexplained + 1
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

    def _work(self, argv: Sequence[str]) -> tuple[int, bool]:
        """Run a worker to its end; its return code, and whether it hung."""
        for path in (*self._notes(), self._folder / worker.ENDED, self._folder / worker.GOT_ON):
            path.unlink(missing_ok=True)
        with self._children.start(["-m", "mmstream.cli", *argv]) as process:
            while (code := self._children.wait(process)) is None:
                if any(self._children.has_stalled(note) for note in self._notes() if note.stat().st_size):
                    return end(process), True
            return code, False

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


def _how_it_ended(code: int, stalled: bool, seconds: float) -> str:
    if stalled:
        return f"had the same records in hand for {seconds:g} s and was ended"
    return "has no memory left" if code == worker.OUT_OF_MEMORY else f"was ended by {cause(code)}"
