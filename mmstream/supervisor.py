"""A small parent of the process that works: it restarts it, ends it when it hangs, and finds the record to blame.

The worker notes which records it has in hand (`mmstream.worker`). When it dies, each of these is tried alone in a child
process (`mmstream.probe`), and only a record that kills that child, too, or that hangs in it, is passed over from then
on and becomes a dead letter. A worker that was killed from outside leaves only innocent records, and is started again;
one that was merely slow gets twice the time.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from mmstream import terminal, worker
from mmstream.records import Record
from mmstream.worker import Verdict

_LOOK_SECONDS = 0.2
_GRACE_SECONDS = 15
"""How long a worker may take to end when it is asked to."""
_START_SECONDS = 600
"""How long a child may take to load what it tries records with."""
_TRIES = 2
"""A record is to blame when it kills a child so often: once may be chance, as somebody else's SIGKILL."""
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
        self._stall = stall_seconds
        self._most_patience = 2**_MOST_UNEXPLAINED * stall_seconds
        self._verdicts: dict[str, Verdict] = {}
        self._seen: dict[Path, tuple[int, float]] = {}
        self._stop = 0
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, argv: Sequence[str]) -> int:
        unexplained = 0
        with self._signals():
            while True:
                code, stalled = self._work(argv)
                if self._marked(worker.ENDED):
                    return int((self._folder / worker.ENDED).read_text() or code)
                if self._stop:
                    return terminal.stopped(self._stop)
                terminal.say(f"the worker process {_how_it_ended(code, stalled, self._stall)}; looking for the reason")
                got_on = self._marked(worker.GOT_ON)
                found = {k: v for k, v in self._blame(self._suspects()).items() if k not in self._verdicts}
                if self._stop:
                    return terminal.stopped(self._stop)
                unexplained = 0 if found or got_on else unexplained + 1
                if unexplained == _MOST_UNEXPLAINED:
                    terminal.fail(
                        f"mmstream: the worker process died {unexplained} times, and no record that it had in hand is "
                        "to blame; is this machine short of memory? The same command goes on from here"
                    )
                    return 1
                for key, verdict in found.items():
                    terminal.say(f"quarantined {json.loads(key)[0]!r}: {verdict.message}")
                if stalled and not found and self._stall < self._most_patience:
                    self._stall *= 2
                    terminal.say(
                        f"no record hangs; this machine is slow, and a worker may take {self._stall:g} s from now on"
                    )
                self._verdicts |= found
                (self._folder / "verdicts.json").write_text(json.dumps(self._verdicts))
                terminal.say("starting a new worker process, which goes on where the last one was")

    def _work(self, argv: Sequence[str]) -> tuple[int, bool]:
        """Run a worker to its end; its return code, and whether it hung."""
        for path in (*self._notes(), self._folder / worker.ENDED, self._folder / worker.GOT_ON):
            path.unlink(missing_ok=True)
        with self._child(["-m", "mmstream.cli", *argv]) as process:
            while (code := self._wait(process)) is None:
                if any(self._has_stalled(note) for note in self._notes() if note.stat().st_size):
                    return _end(process), True
            return code, False

    def _blame(self, suspects: Sequence[Record]) -> dict[str, Verdict]:
        """Try each record alone; verdicts on those that end, hang or fill the process that tries them."""
        (self._folder / "suspects").write_bytes(pickle.dumps(list(suspects)))
        found: dict[str, Verdict] = {}
        place, deaths = 0, 0
        while place < len(suspects) and not self._stop:
            current = self._folder / "current"
            current.unlink(missing_ok=True)
            (self._folder / worker.ENDED).unlink(missing_ok=True)
            code, verdict = self._try(place, current)
            if self._marked(worker.ENDED) or not current.exists():
                return found  # all are tried, or what tries them could not be loaded
            tried, step = current.read_text().split()
            deaths = deaths + 1 if int(tried) == place else 1
            place = int(tried)
            if verdict or deaths == _TRIES:
                found[worker.key_of(suspects[place])] = (verdict or _verdict_on_death(code))._replace(step=step)
                place, deaths = place + 1, 0
        return found

    def _try(self, start: int, current: Path) -> tuple[int, Verdict | None]:
        """Try the suspects from one on; the child's return code, and what it did where that is plain already."""
        began = time.monotonic()
        with self._child(["-m", "mmstream.probe", str(start)]) as process:
            while (code := self._wait(process)) is None:
                if current.exists():
                    if self._has_stalled(current):
                        return _end(process), Verdict("Stalled", f"was not done after {self._stall:g} s")
                elif time.monotonic() - began > _START_SECONDS:
                    return _end(process), None
            if code == worker.OUT_OF_MEMORY:
                return code, Verdict("OutOfMemory", "needs more memory than there is")
            return code, None

    @contextlib.contextmanager
    def _child(self, arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        """A child of this Python that ends when this process does, with a temporary folder of its own."""
        temporary = self._folder / "tmp"
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir()
        theirs, ours = os.pipe()
        own = {worker.FOLDER: str(self._folder), worker.PIPE: str(theirs), "TMPDIR": str(temporary)}
        variables = {**os.environ, **own}
        command = [sys.executable, "-P", *arguments]  # or a module in the current folder would be imported
        process = subprocess.Popen(command, env=variables, pass_fds=[theirs], process_group=0)
        os.close(theirs)
        self._process = process
        try:
            yield process
        finally:
            _end(process)
            os.close(ours)

    def _wait(self, process: subprocess.Popen[bytes]) -> int | None:
        """The return code of a child that ends within a moment; one that was asked to end has only so long."""
        until = time.monotonic() + _GRACE_SECONDS if self._stop else None
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(_LOOK_SECONDS)
            if not self._stop:
                return None
            until = until or time.monotonic() + _GRACE_SECONDS
            if time.monotonic() > until:
                _end(process)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """While the block runs, what asks this process to end asks its child."""

        def hand_on(number: int, frame: FrameType | None) -> None:
            self._stop = number
            if self._process and self._process.poll() is None:
                self._process.send_signal(number)

        before = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _notes(self) -> Iterator[Path]:
        yield from self._folder.glob("thread-*")

    def _marked(self, name: str) -> bool:
        """Whether the last child has left a mark."""
        return (self._folder / name).exists()

    def _has_stalled(self, note: Path) -> bool:
        """Whether nobody has written to a note for too long, by this process's own clock."""
        changed, now = note.stat().st_mtime_ns, time.monotonic()
        if self._seen.get(note, (0, 0.0))[0] != changed:
            self._seen[note] = changed, now
        return now - self._seen[note][1] > self._stall

    def _suspects(self) -> list[Record]:
        """What the worker had in hand, each record once."""
        records: dict[str, Record] = {}
        for note in self._notes():
            with contextlib.suppress(EOFError, pickle.UnpicklingError):  # it died before it had written it
                records |= {worker.key_of(record): record for record in pickle.loads(note.read_bytes())}
        return [records[key] for key in sorted(records)]


def _end(process: subprocess.Popen[bytes]) -> int:
    """End a child and all that it has started; its return code."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def _how_it_ended(code: int, stalled: bool, seconds: float) -> str:
    if stalled:
        return f"had the same records in hand for {seconds:g} s and was ended"
    return "has no memory left" if code == worker.OUT_OF_MEMORY else f"was ended by {_cause(code)}"


def _verdict_on_death(code: int) -> Verdict:
    return Verdict("Killed", f"ends the process that works on it ({_cause(code)})")


def _cause(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"a library that called exit({code})"
