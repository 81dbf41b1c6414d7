"""The local disk, read so that a failure is never taken for a missing file.

Only what the system reports as missing counts as missing. Every other failure is raised, after a few tries if it may
pass.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from mmstream.runtime.alive import progress

T = TypeVar("T")
PASSING = frozenset(
    (
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EINTR, errno.EAGAIN, errno.EBUSY),
        *(errno.ESTALE, errno.ETIMEDOUT, errno.EIO),
    )
)
"""Numbers of errors that may pass within moments: too many open files, a network disk that does not answer."""
_WAITS_SECONDS = (0.05, 0.2, 0.6)
"""How long to wait before each further try."""
NOT_THERE = (FileNotFoundError, NotADirectoryError)


def patiently(do: Callable[[], T], sleep: Callable[[float], None] = time.sleep) -> T:
    """Try an operation on files, and repeat it after an error that may be temporary (`PASSING`).

    Args:
        do: the function to call; it can be called again after a failure.
        sleep: waits for the given number of seconds.

    Raises:
        OSError: the error of the last try, or an error that will not pass.
    """
    for seconds in _WAITS_SECONDS:
        try:
            return do()
        except OSError as error:
            if error.errno not in PASSING:
                raise
        sleep(seconds)
    return do()


def about(path: str) -> os.stat_result | None:
    """Return the status of a path, links followed; None if nothing is there."""
    try:
        return patiently(Path(path).stat)
    except NOT_THERE:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:  # a circle of links leads nowhere
            return None
        raise
    except ValueError:  # no file can have such a name
        return None


def entries(folder: str) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, sorted by name; none if it does not exist."""

    def read() -> list[os.DirEntry[str]]:
        with os.scandir(folder or ".") as scan:
            return sorted(scan, key=lambda entry: entry.name)

    try:
        return patiently(read)
    except NOT_THERE:
        return []


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, or a link to one."""
    try:
        return patiently(entry.is_dir)
    except OSError as error:
        if error.errno == errno.ELOOP:  # a circle of links leads nowhere
            return False
        raise


def _is_no_link(path: str, entry: os.DirEntry[str]) -> bool:
    return not entry.is_symlink()


def walk(
    folder: str,
    enters: Callable[[str, os.DirEntry[str]], bool] = _is_no_link,
    hidden: Callable[[str], object] = lambda path: None,
) -> Iterator[str]:
    """Yield all files below a folder, as paths relative to it, folder by folder, sorted; none if it does not exist.

    Args:
        folder: a folder on the local disk.
        enters: decides whether to go into a folder, or through a link to one, given its path below `folder` and its
            entry; by default, links are not followed.
        hidden: called with the path of each name that begins with a dot; these are passed over.

    Raises:
        OSError: a folder cannot be read; otherwise its files would be missing silently.
    """
    waiting = [("", folder)]
    while waiting:
        progress()
        below, place = waiting.pop()
        shown = []
        for entry in entries(place):
            if entry.name.startswith("."):
                hidden(below + entry.name)
            else:
                shown.append(entry)
        yield from (below + entry.name for entry in shown if not is_folder(entry))
        folders = [entry for entry in shown if is_folder(entry) and enters(below + entry.name, entry)]
        waiting += [(f"{below}{entry.name}/", entry.path) for entry in reversed(folders)]
