"""Temporary folders that live as long as the process that made them, however that ends.

A process that is killed cannot remove its folder. So it holds a lock of the system's on a file in it, which ends with
the process, and whoever makes such a folder next removes those that nobody holds.
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
    """A new temporary folder, removed when the block ends; others, of processes that were killed, are removed, too."""
    sweep()
    made = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with _hold(made):
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)  # what a child is still writing to goes with the next sweep


def sweep() -> None:
    """Remove this user's temporary folders that are called as those of `folder` and that nobody holds."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:  # who cannot look cannot sweep
        for entry in entries:
            if entry.name.startswith(PREFIX) and _is_ours(entry) and _is_free(Path(entry.path)):
                shutil.rmtree(entry.path, ignore_errors=True)


@contextlib.contextmanager
def _hold(made: Path) -> Iterator[None]:
    """Hold a folder while the block runs; nobody sees its lock before it is held."""
    beginning = made / f"{_HELD}-begun"
    with beginning.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        beginning.rename(made / _HELD)
        yield


def _is_ours(entry: os.DirEntry[str]) -> bool:
    try:
        about = entry.stat(follow_symlinks=False)
    except OSError:  # it has just been removed
        return False
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()


def _is_free(found: Path) -> bool:
    """Whether a folder was held once, and is no longer."""
    try:
        lock = os.open(found / _HELD, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # it never was, or has just been removed
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody holds it, or nobody can tell
        return False
    else:
        return True
    finally:
        os.close(lock)
