"""The local disk, read so that a failure never looks like an empty place.

Reading is not knowing: only what the system says is not there counts as not there. Whatever else goes wrong is raised,
after a few tries where that helps.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from mmstream.alive import progress

T = TypeVar("T")
PASSING = frozenset(
    (
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EINTR, errno.EAGAIN, errno.EBUSY),
        *(errno.ESTALE, errno.ETIMEDOUT, errno.EIO),
    )
)
"""Numbers of errors that may be gone a moment later: too many open files, a network disk that does not answer."""
_WAITS_SECONDS = (0.05, 0.2, 0.6)
"""How long to wait before each further try."""
NOT_THERE = (FileNotFoundError, NotADirectoryError)
WILD = re.compile(r"[*?\[]")
"""What stands in a pattern for more than itself."""


def patiently(do: Callable[[], T], sleep: Callable[[float], None] = time.sleep) -> T:
    """Do something with files, a few times if it fails for a reason that may pass (`PASSING`).

    Args:
        do: can be done again after it has failed.
        sleep: waits for so many seconds.

    Raises:
        OSError: of the last try, or one that will not pass.
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
    """What the system says of a path, links followed; None where nothing is there."""
    try:
        return patiently(Path(path).stat)
    except NOT_THERE:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:  # links that lead to each other lead nowhere
            return None
        raise
    except ValueError:  # no file can have such a name
        return None


def entries(folder: str) -> list[os.DirEntry[str]]:
    """What lies in a folder, sorted by name; nothing where it is not there."""

    def read() -> list[os.DirEntry[str]]:
        with os.scandir(folder or ".") as found:
            return sorted(found, key=lambda entry: entry.name)

    try:
        return patiently(read)
    except NOT_THERE:
        return []


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one."""
    try:
        return patiently(entry.is_dir)
    except OSError as error:
        if error.errno == errno.ELOOP:  # links that lead to each other lead nowhere
            return False
        raise


def walk(folder: str) -> Iterator[str]:
    """All files below a folder, as paths relative to it, folder by folder in sorted order; none if it is not there.

    Links are not followed into folders; names that begin with a dot are passed over.

    Raises:
        OSError: a folder cannot be read; what lies in it would be missing without a word.
    """
    waiting = [("", folder)]
    while waiting:
        progress()
        below, place = waiting.pop()
        shown = [entry for entry in entries(place) if not entry.name.startswith(".")]
        yield from (below + entry.name for entry in shown if not is_folder(entry))
        folders = [entry for entry in shown if is_folder(entry) and not entry.is_symlink()]
        waiting += [(f"{below}{entry.name}/", entry.path) for entry in reversed(folders)]


def matching(pattern: str) -> set[str]:
    """The files and folders that match a pattern: `*` and `?` within a folder's name, `**` across folders.

    Raises:
        OSError: a folder on the way cannot be read.
    """
    first, *steps = pattern.split("/")
    if WILD.search(first):
        return set(_matching([""], [first, *steps]))
    return set(_matching([f"{first}/"], steps))


def _matching(starts: list[str], steps: list[str]) -> Iterator[str]:
    """The paths that begin with one of these ("" or a folder with its slash) and go on as a pattern says."""
    if not steps:
        yield from (start.rstrip("/") for start in starts)
        return
    step, *rest = steps
    for start in starts:
        if step == "**":
            folders = [entry for entry in entries(start) if is_folder(entry) and not entry.is_symlink()]
            below = [f"{start}{entry.name}/" for entry in folders if not entry.name.startswith(".")]
            yield from _matching([start], rest or ["*"])
            yield from _matching(below, steps)
        elif not WILD.search(step):
            if about(start + step) is not None:
                yield from _matching([f"{start}{step}/" if rest else start + step], rest)
        else:
            names = [entry.name for entry in entries(start) if entry.name.startswith(".") <= step.startswith(".")]
            found = fnmatch.filter(names, step)
            yield from _matching([f"{start}{name}/" if rest else start + name for name in found], rest)
