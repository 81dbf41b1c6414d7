"""One writer per output: a job holds its output directory, and every commit checks that it still does.

On a local disk, it holds an advisory lock of the system, which is released when the process ends, however it ends. On
an object store, which has no locks, it holds a lease: a file that the holder keeps renewing, and that is stale if it
has not been renewed for a while.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from mmstream.errors import MmstreamError
from mmstream.storage import disk, files

FILE = ".lock"
"""The file in an output directory that names the holder."""
_PATIENCE_SECONDS = 3
"""How long a job waits for another job to end."""
_HEARTBEAT_SECONDS = 20
_STALE_SECONDS = 120


@dataclasses.dataclass(frozen=True)
class Owner:
    """The holder of an output directory.

    Attributes:
        run: the run's name.
        host: the machine.
        process: the process id there.
        since: when it began, in UTC.
        renewed: when it was last renewed, in seconds since 1970; 0 on a local disk.
    """

    run: str
    host: str
    process: int
    since: str
    renewed: float = 0.0

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"


@contextlib.contextmanager
def held(output: str, run: str, *, take_over: bool = False) -> Iterator[None]:
    """Hold an output directory while the block runs.

    Args:
        output: the directory; created if it does not exist.
        run: the run's name.
        take_over: whether to take it over from its holder, which then can commit nothing more.

    Raises:
        MmstreamError: another job holds it.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    owner = Owner(run, socket.gethostname(), os.getpid(), now)
    hold = _lease if files.is_remote(output) else _lock
    with hold(output, owner, take_over):
        yield


def check(output: str, run: str) -> None:
    """Check that a run still holds its output directory.

    Args:
        output: the directory.
        run: the run's name; "" if no run holds the output, as in a user's own pipeline.

    Raises:
        MmstreamError: another job has taken it over.
    """
    if not run:
        return
    owner = _owner(output)
    if owner is None or owner.run != run:
        raise MmstreamError(f"{output} was taken over by {owner or 'another job'}; this job commits nothing more to it")


@contextlib.contextmanager
def _lock(output: str, owner: Owner, take_over: bool) -> Iterator[None]:
    path = Path(_path(output))
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + _PATIENCE_SECONDS
    while (descriptor := _locked(path)) is None:
        if take_over:
            path.unlink(missing_ok=True)
        elif time.monotonic() > until:
            raise _refusal(output)
        else:
            time.sleep(0.1)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(dataclasses.asdict(owner)).encode(), 0)
        yield
    finally:
        try:
            if _is_file_of(path, descriptor):
                path.unlink()
        finally:
            os.close(descriptor)


def _locked(path: Path) -> int | None:
    """Return a descriptor of the lock file, locked until it is closed; None if another process has locked the file."""
    while True:
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_file_of(path, descriptor):  # otherwise its last holder has just removed it
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _opened(path: Path) -> int:
    """Return a descriptor of the lock file, which is created if needed.

    Raises:
        MmstreamError: it is not a plain file; the target of a link must not be overwritten.
    """
    try:
        descriptor = disk.patiently(
            lambda: os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        )
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise MmstreamError(f"{path} is a link or not a plain file; remove it") from error
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise MmstreamError(f"{path} is not a plain file; remove it")


@contextlib.contextmanager
def _lease(output: str, owner: Owner, take_over: bool) -> Iterator[None]:
    holder = _owner(output)
    if holder is not None and not take_over and time.time() - holder.renewed < _STALE_SECONDS:
        raise _refusal(output)
    _renew(output, owner)
    check(output, owner.run)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):  # the store may answer again before the lease is stale
                holder = _owner(output)
                if holder is None or holder.run != owner.run:
                    return  # the next commit reports it
                _renew(output, owner)

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        holder = _owner(output)
        if holder is not None and holder.run == owner.run:
            files.remove(_path(output))


def _renew(output: str, owner: Owner) -> None:
    renewed = dataclasses.replace(owner, renewed=time.time())
    files.write_bytes(_path(output), json.dumps(dataclasses.asdict(renewed)).encode())


def _owner(output: str) -> Owner | None:
    """Return the holder of a directory; None if there is none, or if it is still writing the file.

    Raises:
        OSError: the system gives no answer.
    """
    data = files.read_if_there(_path(output))
    try:
        return None if data is None else Owner(**json.loads(data))
    except (ValueError, TypeError):
        return None


def _refusal(output: str) -> MmstreamError:
    return MmstreamError(
        f"another job is writing to {output}: {_owner(output) or 'it has just begun'}. Wait until it ends; if it "
        "hangs, take the output over with --break-lock"
    )


def _path(output: str) -> str:
    return files.join(output, FILE)


def _is_file_of(path: Path, descriptor: int) -> bool:
    """Return whether a path still leads to an open file."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (opened.st_dev, opened.st_ino)
