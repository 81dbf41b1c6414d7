"""A worker process's side of supervision: it notes which records it is processing, so that the note is there if it
dies, and skips those that are known to kill it. Without a supervisor, `mmstream.outputs.unfinished` does the same with
notes in the output.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pickle
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from mmstream.records.record import Record
from mmstream.runtime import alive

PIPE = "MMSTREAM_SUPERVISOR_PIPE"
"""The environment variable with a file descriptor that closes when the supervisor ends; set only in its child."""

TRIAL = "trial"
ENDED = "ended"
GOT_ON = "got_on"
OUT_OF_MEMORY = 71
"""The exit code of a process that has run out of memory."""
_own_verdicts: dict[str, Verdict] = {}


class Trial(Protocol):
    """Processes a record as a job does, step by step, and discards the result. Can be pickled.

    Attributes:
        steps: the names of the steps, in order.
    """

    steps: ClassVar[tuple[str, ...]]

    def prepare(self) -> None:
        """Load what all steps need."""

    def take(self, step: str, record: Record) -> None:
        """Take one step with a record."""


class Verdict(NamedTuple):
    """The reason for which a record is skipped from now on.

    Attributes:
        error: "Killed", "Stalled" or "OutOfMemory".
        message: what happened.
        step: the step of the job's `Trial` in which it happened.
    """

    error: str
    message: str
    step: str = ""


def is_supervised() -> bool:
    """Return whether a supervisor started this process or an ancestor of it."""
    return alive.FOLDER in os.environ


def is_child() -> bool:
    """Return whether a supervisor started this process itself, not just an ancestor."""
    return PIPE in os.environ


def begin() -> None:
    """Make this process end when its parent ends, and never use more memory than the parent leaves."""
    watch = functools.partial(_end_with, int(os.environ.pop(PIPE)))
    threading.Thread(target=watch, name="supervisor", daemon=True).start()
    limit_memory(total_memory() - _resident_memory(os.getppid()))


def propose(trial: Trial) -> None:
    """Give the supervisor what it needs to try records one by one."""
    if is_supervised():
        (_folder() / TRIAL).write_bytes(pickle.dumps(trial))


@contextlib.contextmanager
def holding(records: Sequence[Record]) -> Iterator[None]:
    """Keep a note, while the block runs, that this thread is processing these records.

    If memory runs out, the process ends and leaves its notes; the record at fault is found when each is tried alone.
    """
    if not is_supervised():
        yield
        return
    note = _folder() / f"thread-{threading.get_ident()}"
    note.write_bytes(pickle.dumps(list(records)))
    alive.hold(note)
    try:
        yield
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    finally:
        alive.hold(None)
    note.write_bytes(b"")


def got_on() -> None:
    """Record that something was finished for good, so that a new worker will begin later than this one did."""
    if is_supervised():
        (_folder() / GOT_ON).touch()


def ended(code: int | None = None) -> None:
    """Record that this process is about to end of its own accord; without this note, any exit code means that it died.

    Args:
        code: its exit code, which counts even if a library crashes while the interpreter ends; None if unknown.
    """
    if is_supervised():
        (_folder() / ENDED).write_text("" if code is None else str(code))


@contextlib.contextmanager
def condemned(verdicts: Mapping[str, Verdict]) -> Iterator[None]:
    """Apply these verdicts, by `key_of`, while the block runs; for a process that has no supervisor."""
    _own_verdicts.update(verdicts)
    try:
        yield
    finally:
        for key in verdicts:
            _own_verdicts.pop(key, None)


def verdict_on(record: Record) -> Verdict | None:
    """Return the reason for which to skip a record; None if it is not to be skipped."""
    verdicts = _verdicts(os.environ[alive.FOLDER]) if is_supervised() else _own_verdicts
    return verdicts.get(key_of(record)) if verdicts else None


def key_of(record: Record) -> str:
    """Return a key that is unique to a record within a job."""
    return json.dumps([record.id, record.origin])


def total_memory() -> int:
    """Return the bytes of memory that this process may use: those of the machine, or of its control group."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total


def _resident_memory(process: int) -> int:
    """Return the resident memory of a process, in bytes."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def limit_memory(limit: int) -> None:
    """Make allocations fail that would take this process beyond `limit` bytes of data."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


def _end_with(pipe: int) -> None:
    os.read(pipe, 1)
    try:
        subprocess.Popen(["rm", "-rf", os.environ[alive.FOLDER]])  # the supervisor no longer can
    finally:
        os.kill(os.getpid(), signal.SIGKILL)


def _folder() -> Path:
    return Path(os.environ[alive.FOLDER])


@functools.lru_cache(maxsize=1)
def _verdicts(folder: str) -> dict[str, Verdict]:
    """Read the supervisor's verdicts so far; it writes them only between two workers."""
    path = Path(folder) / "verdicts.json"
    return {key: Verdict(*value) for key, value in json.loads(path.read_text()).items()} if path.exists() else {}
