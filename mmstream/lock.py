"""One writer: a job holds its output directory, and every commit checks that it still does.

On a local disk the hold is an advisory lock of the system, which ends with its process, however that ends. On an object
store, which has no such thing, it is a lease: a file that its holder renews, and that is stale when nobody has for a
while.
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

from mmstream import disk, files
from mmstream.errors import MmstreamError

FILE = ".lock"
"""The file in an output directory that says who holds it."""
_PATIENCE_SECONDS = 3
"""How long a job waits for one that is just ending."""
_HEARTBEAT_SECONDS = 20
_STALE_SECONDS = 120


@dataclasses.dataclass(frozen=True)
class Owner:
    """Who holds an output directory.

    Attributes:
        run: the run's name.
        host: the machine.
        process: number of the process there.
        since: when it began, UTC.
        renewed: seconds since 1970 of the last sign of life; 0 on a local disk, where none is needed.
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
        output: the directory; made if it is not there.
        run: the run's name.
        take_over: from whoever holds it, who then can commit nothing more.

    Raises:
        MmstreamError: another job holds it.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    owner = Owner(run, socket.gethostname(), os.getpid(), now)
    hold = _lease if files.is_remote(output) else _lock
    with hold(output, owner, take_over):
        yield


def check(output: str, run: str) -> None:
    """A run still holds its output directory.

    Args:
        output: the directory.
        run: the run's name; "" where nothing holds the output, as in a pipeline that somebody else runs.

    Raises:
        MmstreamError: another has taken it over.
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
    """A descriptor of the file of a lock, which is locked from now on until it is closed; None if another is."""
    while True:
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_file_of(path, descriptor):  # else whoever held it has just removed it
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _opened(path: Path) -> int:
    """A descriptor of the file of a lock, which is made if it is not there.

    Raises:
        MmstreamError: it is no plain file; what a link leads to is not to be overwritten.
    """
    try:
        descriptor = disk.patiently(
            lambda: os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        )
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise MmstreamError(f"{path} is a link, or no plain file; remove it") from error
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise MmstreamError(f"{path} is no plain file; remove it")


@contextlib.contextmanager
def _lease(output: str, owner: Owner, take_over: bool) -> Iterator[None]:
    found = _owner(output)
    if found is not None and not take_over and time.time() - found.renewed < _STALE_SECONDS:
        raise _refusal(output)
    _renew(output, owner)
    check(output, owner.run)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):  # the store does not answer; until the lease is stale there is time
                found = _owner(output)
                if found is None or found.run != owner.run:
                    return  # the next commit says so
                _renew(output, owner)

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        found = _owner(output)
        if found is not None and found.run == owner.run:
            files.remove(_path(output))


def _renew(output: str, owner: Owner) -> None:
    renewed = dataclasses.replace(owner, renewed=time.time())
    files.write_bytes(_path(output), json.dumps(dataclasses.asdict(renewed)).encode())


def _owner(output: str) -> Owner | None:
    """Whoever holds a directory; None where nobody does, or is just writing who.

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
        "hangs, take its place with --break-lock"
    )


def _path(output: str) -> str:
    return files.join(output, FILE)


def _is_file_of(path: Path, descriptor: int) -> bool:
    """Whether a path still leads to the file that is open."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (opened.st_dev, opened.st_ino)
