"""Child processes that may die of what they do, and the records that they die of.

A record that was in hand when a process died is tried alone in a child (`mmstream.probe`), and only one that kills that
child, too, or that hangs in it, is to blame.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mmstream import alive, scratch, worker
from mmstream.records import Record
from mmstream.worker import Trial, Verdict

_LOOK_SECONDS = 0.2
GRACE_SECONDS = 2
"""How long a child may take to end when it is asked to; whatever it is at, it may be killed."""
_START_SECONDS = 600
"""How long a child may take to load what it tries records with."""
_TRIES = 2
"""A record is to blame when it kills a child so often: once may be chance, as somebody else's SIGKILL."""


def blame(records: Sequence[Record], trial: Trial, stall_seconds: float) -> dict[str, Verdict]:
    """Try each record alone; verdicts on those that end, hang or fill the process that tries them, by `worker.key_of`.

    Args:
        records: that were in hand when a process died.
        trial: does to them what it did.
        stall_seconds: after so long with one record a child counts as hung.
    """
    with scratch.folder() as folder:
        (folder / worker.TRIAL).write_bytes(pickle.dumps(trial))
        return Children(folder, stall_seconds).blame(records)


class Children:
    """Those of one process, one after the other.

    Args:
        folder: of what they note.
        stall_seconds: after so long without a sign of life a child counts as hung.
        grace_seconds: how long a child may take to end when it is asked to.
        clock: tells the time in seconds.

    Attributes:
        stall: `stall_seconds`.
        asked: number of the signal that asks all this to end; 0 as long as nobody does.
    """

    def __init__(
        self,
        folder: Path,
        stall_seconds: float,
        grace_seconds: float = GRACE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._grace = grace_seconds
        self._clock = clock
        self.stall = stall_seconds
        self.asked = 0
        self._seen: dict[Path, tuple[int | None, float]] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def ask_to_end(self, number: int) -> None:
        """Hand a signal on; if it is the second one, end the child at once, and all that it has started."""
        process = self._process
        if process and process.poll() is None:
            if self.asked:
                _kill(process)
            else:
                process.send_signal(number)
        self.asked = number

    @contextlib.contextmanager
    def start(self, arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        """A child of this Python that ends when this process does, with a temporary folder of its own."""
        temporary = self._folder / "tmp"
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir()
        theirs, ours = os.pipe()
        own = {alive.FOLDER: str(self._folder), worker.PIPE: str(theirs), "TMPDIR": str(temporary)}
        variables = {**os.environ, **own}
        command = [sys.executable, "-P", *arguments]  # or a module in the current folder would be imported
        process = subprocess.Popen(command, env=variables, pass_fds=[theirs], process_group=0)
        os.close(theirs)
        self._process = process
        try:
            yield process
        finally:
            end(process)
            os.close(ours)

    def wait(self, process: subprocess.Popen[bytes]) -> int | None:
        """The return code of a child that ends within a moment; one that was asked to end has only so long."""
        until = self._clock() + self._grace if self.asked else None
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(_LOOK_SECONDS)
            if not self.asked:
                return None
            if until is None:
                until = self._clock() + self._grace
            elif self._clock() > until:
                end(process)

    def has_stalled(self, note: Path) -> bool:
        """Whether nobody has written to a note for too long, by this process's own clock."""
        return self._is_unchanged(note, note.stat().st_mtime_ns)

    def stalled_step(self) -> str:
        """What a thread lists or reads without a sign of life for too long; "" where none does."""
        for path, step in self._steps():
            if self._is_unchanged(path, step.signs) and step.what:
                return step.what
        return ""

    def steps(self) -> set[str]:
        """What the threads of the last child list or read, or did when it died."""
        return {step.what for _, step in self._steps() if step.what}

    def _steps(self) -> Iterator[tuple[Path, alive.Step]]:
        return ((path, alive.look(path)) for path in self._folder.glob(alive.STEPS))

    def _is_unchanged(self, note: Path, sign: int) -> bool:
        """Whether a note has borne the same sign for too long."""
        now = self._clock()
        if self._seen.get(note, (None, 0.0))[0] != sign:
            self._seen[note] = sign, now
        return now - self._seen[note][1] > self.stall

    def marked(self, name: str) -> bool:
        """Whether the last child has left a mark."""
        return (self._folder / name).exists()

    def blame(self, suspects: Sequence[Record]) -> dict[str, Verdict]:
        """Try each record alone, given a trial in the folder; see `blame`."""
        (self._folder / "suspects").write_bytes(pickle.dumps(list(suspects)))
        found: dict[str, Verdict] = {}
        place, deaths = 0, 0
        while place < len(suspects) and not self.asked:
            current = self._folder / "current"
            current.unlink(missing_ok=True)
            (self._folder / worker.ENDED).unlink(missing_ok=True)
            code, verdict = self._try(place, current)
            if self.marked(worker.ENDED):
                return found
            if not current.exists():
                logging.getLogger(__name__).warning("no record was tried alone: what tries them could not be loaded")
                return found
            tried, step = current.read_text().split()
            deaths = deaths + 1 if int(tried) == place else 1
            place = int(tried)
            if verdict or deaths == _TRIES:
                found[worker.key_of(suspects[place])] = (verdict or _verdict_on(code))._replace(step=step)
                place, deaths = place + 1, 0
        return found

    def _try(self, start: int, current: Path) -> tuple[int, Verdict | None]:
        """Try the suspects from one on; the child's return code, and what it did where that is plain already."""
        began = self._clock()
        with self.start(["-m", "mmstream.probe", str(start)]) as process:
            while (code := self.wait(process)) is None:
                if current.exists():
                    if self.has_stalled(current):
                        return end(process), Verdict("Stalled", f"was not done after {self.stall:g} s")
                elif self._clock() - began > _START_SECONDS:
                    return end(process), None
            if code == worker.OUT_OF_MEMORY:
                return code, Verdict("OutOfMemory", "needs more memory than there is")
            return code, None


def end(process: subprocess.Popen[bytes]) -> int:
    """End a child and all that it has started; its return code."""
    _kill(process)
    return process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _verdict_on(code: int) -> Verdict:
    return Verdict("Killed", f"ends the process that works on it ({cause(code)})")


def cause(code: int) -> str:
    """What ended a process with this return code."""
    return signal.Signals(-code).name if code < 0 else f"a library that called exit({code})"
