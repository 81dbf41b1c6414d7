"""Child processes that may crash or hang, and finding the records that make them do so.

Each record that was being processed when a process died is tried alone in a child (`probe`); it is at fault only if it
kills that child as well, or hangs in it.
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

from mmstream.records.record import Record
from mmstream.runtime import alive, scratch
from mmstream.supervision import worker
from mmstream.supervision.worker import Trial, Verdict

_logger = logging.getLogger(__name__)
_LOOK_SECONDS = 0.2
GRACE_SECONDS = 2
"""How many seconds a child may take to end when asked to, before it is killed."""
_START_SECONDS = 600
"""How many seconds a child may take to load what it needs to try records."""
_TRIES = 2
"""A record is at fault if it kills this many children in a row: once may be chance, such as a SIGKILL from outside."""


def blame(records: Sequence[Record], trial: Trial, stall_seconds: float) -> dict[str, Verdict]:
    """Try each record alone; returns verdicts, by `worker.key_of`, on those that kill or hang a process or fill memory.

    Args:
        records: the records that were being processed when a process died.
        trial: processes them as that process did.
        stall_seconds: how long a child may take for one record before it counts as hung.
    """
    with scratch.folder() as folder:
        (folder / worker.TRIAL).write_bytes(pickle.dumps(trial))
        return Children(folder, stall_seconds).blame(records)


class Children:
    """The child processes of one process, one after the other.

    Args:
        folder: the folder for their notes.
        stall_seconds: how long a child may give no sign of life before it counts as hung.
        grace_seconds: how long a child may take to end when asked to.
        clock: tells the time in seconds.

    Attributes:
        stall: `stall_seconds`.
        asked: the number of the signal that has asked this process to end; 0 if none has.
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
        """Pass a signal on to the child; a second one kills the child and every process that it has started."""
        process = self._process
        if process and process.poll() is None:
            if self.asked:
                _kill(process)
            else:
                process.send_signal(number)
        self.asked = number

    @contextlib.contextmanager
    def start(self, arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        """Start a Python child that ends when this process does, and has its own temporary folder."""
        temporary = self._folder / "tmp"
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir()
        theirs, ours = os.pipe()
        own = {alive.FOLDER: str(self._folder), worker.PIPE: str(theirs), "TMPDIR": str(temporary)}
        variables = {**os.environ, **own}
        command = [sys.executable, "-P", *arguments]  # without -P, modules in the current folder would be imported
        process = subprocess.Popen(command, env=variables, pass_fds=[theirs], process_group=0)
        os.close(theirs)
        self._process = process
        try:
            yield process
        finally:
            end(process)
            os.close(ours)

    def wait(self, process: subprocess.Popen[bytes]) -> int | None:
        """Return a child's return code if it ends within moments; kill a child that was asked to end and does not."""
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
        """Return whether a note has not been written to for too long, by this process's own clock."""
        return self._is_unchanged(note, note.stat().st_mtime_ns)

    def stalled_step(self) -> str:
        """Return what a thread has been listing or reading for too long without a sign of life; "" for nothing."""
        for path, step in self._steps():
            if self._is_unchanged(path, step.signs) and step.what:
                return step.what
        return ""

    def steps(self) -> set[str]:
        """Return what the threads of the last child list or read, or did when it died."""
        return {step.what for _, step in self._steps() if step.what}

    def _steps(self) -> Iterator[tuple[Path, alive.Step]]:
        return ((path, alive.look(path)) for path in self._folder.glob(alive.STEPS))

    def _is_unchanged(self, note: Path, sign: int) -> bool:
        """Return whether a note has shown the same sign for too long."""
        now = self._clock()
        if self._seen.get(note, (None, 0.0))[0] != sign:
            self._seen[note] = sign, now
        return now - self._seen[note][1] > self.stall

    def marked(self, name: str) -> bool:
        """Return whether the last child has left this mark."""
        return (self._folder / name).exists()

    def blame(self, suspects: Sequence[Record]) -> dict[str, Verdict]:
        """Try each record alone, with the trial in the folder; see the function `blame`."""
        (self._folder / "suspects").write_bytes(pickle.dumps(list(suspects)))
        verdicts: dict[str, Verdict] = {}
        place, deaths = 0, 0
        while place < len(suspects) and not self.asked:
            current = self._folder / "current"
            current.unlink(missing_ok=True)
            (self._folder / worker.ENDED).unlink(missing_ok=True)
            code, verdict = self._try(place, current)
            if self.marked(worker.ENDED):
                return verdicts
            if not current.exists():
                _logger.warning("no record was tried alone, because the trial process could not load what it needs")
                return verdicts
            tried, step = current.read_text().split()
            deaths = deaths + 1 if int(tried) == place else 1
            place = int(tried)
            if verdict or deaths == _TRIES:
                verdicts[worker.key_of(suspects[place])] = (verdict or _verdict_on(code))._replace(step=step)
                place, deaths = place + 1, 0
        return verdicts

    def _try(self, start: int, current: Path) -> tuple[int, Verdict | None]:
        """Try the suspects from `start` on; returns the child's return code, and a verdict if there is one already."""
        began = self._clock()
        with self.start(["-m", "mmstream.supervision.probe", str(start)]) as process:
            while (code := self.wait(process)) is None:
                if current.exists():
                    if self.has_stalled(current):
                        return end(process), Verdict("Stalled", f"did not finish within {self.stall:g} s")
                elif self._clock() - began > _START_SECONDS:
                    return end(process), None
            if code == worker.OUT_OF_MEMORY:
                return code, Verdict("OutOfMemory", "needs more memory than is available")
            return code, None


def end(process: subprocess.Popen[bytes]) -> int:
    """Kill a child and every process that it has started; returns its return code."""
    _kill(process)
    return process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _verdict_on(code: int) -> Verdict:
    return Verdict("Killed", f"kills the process that handles it ({cause(code)})")


def cause(code: int) -> str:
    """Say what ended a process with this return code."""
    return signal.Signals(-code).name if code < 0 else f"a library that called exit({code})"
