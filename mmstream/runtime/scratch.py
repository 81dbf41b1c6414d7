"""Temporary folders that are removed after their process has ended, no matter how.

A process that is killed cannot remove its folder. So each process holds a system lock on a file in its folder, which is
released when the process ends; the next process that makes such a folder removes those whose lock is free.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "mmstream-"
_HELD = ".held"


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Make a temporary folder, and remove it when the block ends; also remove folders of killed processes."""
    sweep()
    path = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with _hold(path):
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)  # a child may still write to it; the next sweep removes the rest


def sweep() -> None:
    """Remove this user's temporary folders of killed processes."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:  # none without permission
        for entry in entries:
            if entry.name.startswith(PREFIX) and _is_ours(entry) and _is_free(Path(entry.path)):
                shutil.rmtree(entry.path, ignore_errors=True)


@contextlib.contextmanager
def _hold(folder: Path) -> Iterator[None]:
    """Hold a folder while the block runs; the lock file gets its final name only once it is locked."""
    beginning = folder / f"{_HELD}-begun"
    with beginning.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        beginning.rename(folder / _HELD)
        yield


def _is_ours(entry: os.DirEntry[str]) -> bool:
    try:
        about = entry.stat(follow_symlinks=False)
    except OSError:  # it has just been removed
        return False
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()


def _is_free(folder: Path) -> bool:
    """Return whether a folder was once held and no longer is."""
    try:
        lock = os.open(folder / _HELD, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # it never was held, or has just been removed
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # it is held, or may be
        return False
    else:
        return True
    finally:
        os.close(lock)
