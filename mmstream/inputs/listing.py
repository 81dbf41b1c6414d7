"""The files below the folder of an input, and the files and folders that were passed over, with the reasons."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmstream.errors import listed
from mmstream.interfaces import PassedOver
from mmstream.storage import disk, files

HIDDEN = "hidden"
READ_ALREADY = "link to a folder that is also read without the link"
AROUND = "link to a folder that contains the input"
OUTSIDE = "link to a folder outside the input; `roots` or --root allows it"
NOWHERE = "link that leads nowhere"
OTHER = "of a kind that the source does not read"
_NAMED = 5
"""How many paths are named for each reason."""


class Passed:
    """Counts what is passed over, by reason."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._first: dict[str, list[str]] = {}

    def add(self, reason: str, path: str) -> None:
        """Count one file or folder.

        Args:
            reason: why it is passed over.
            path: its path below the input.
        """
        self._counts[reason] = self._counts.get(reason, 0) + 1
        if self._counts[reason] <= _NAMED:
            name = path.encode("utf-8", "backslashreplace").decode()
            self._first.setdefault(reason, []).append(name)

    def told(self) -> tuple[PassedOver, ...]:
        """Return what was passed over, in the order in which the reasons first occurred."""
        return tuple(PassedOver(reason, count, tuple(self._first[reason])) for reason, count in self._counts.items())


def as_json(passed: Iterable[PassedOver]) -> list[dict[str, Any]]:
    """Convert what was passed over into the form that the summary of a run holds."""
    return [{"reason": each.reason, "count": each.total, "first": list(each.first)} for each in passed]


def in_words(passed: Iterable[Mapping[str, Any]]) -> str:
    """Describe in one line what was passed over, given the result of `as_json`.

    >>> in_words([{"reason": "hidden", "count": 2000, "first": [".a", ".b"]}])
    '2,000 hidden (.a, .b and 1,998 more)'
    >>> in_words([{"reason": "link that leads nowhere", "count": 1, "first": ["a"]}])
    '1 link that leads nowhere (a)'
    """
    return "; ".join(f"{each['count']:,} {_reason(each)} ({_some(each)})" for each in passed)


def why_not_read(folder: str, path: str) -> str:
    """Return the reason for which a source passes over a file.

    The targets of links that lead outside the folder are not examined.

    Args:
        folder: the folder that is listed.
        path: the path of the file, below the folder.
    """
    if files.is_remote(folder):
        return OTHER
    place = Path(folder, path)
    leads_within = place.is_symlink() and _lies_in(os.path.realpath(place), os.path.realpath(folder))
    return NOWHERE if leads_within and not place.exists() else OTHER


class Listing:
    """The files below a folder, as paths relative to it, folder by folder, sorted; none if it does not exist.

    Names that begin with a dot are passed over. A link to a folder is followed if its target lies within one of the
    roots, or is hidden within the folder; of several links to the same folder, only the first is followed. The same
    folder and roots always give the same listing.

    Args:
        folder: local or remote.
        roots: further folders; remote ones have no effect, as no link leads there.
        passed: counts what is passed over.

    Attributes:
        has_links: whether a link was followed, in which case no part of the folder may be listed alone.
    """

    def __init__(self, folder: str, roots: Sequence[str] = (), passed: Passed | None = None) -> None:
        self.has_links = False
        self._folder = folder
        self._passed = passed or Passed()
        self._real = "" if files.is_remote(folder) else os.path.realpath(folder)
        self._roots = [os.path.realpath(root) for root in roots if not files.is_remote(root)]
        self._read = {self._real}
        """The real paths of the folder and of the targets of links that were followed."""

    def __iter__(self) -> Iterator[str]:
        if files.is_remote(self._folder):
            return files.list_files(self._folder, self._pass_over)
        return disk.walk(self._folder, self._enters, self._pass_over)

    def _pass_over(self, path: str) -> None:
        self._passed.add(HIDDEN, path)

    def _enters(self, path: str, entry: os.DirEntry[str]) -> bool:
        """Return whether to go into a folder.

        Args:
            path: its path below the listed folder.
            entry: the directory entry of the folder, or of a link to it.
        """
        is_link = entry.is_symlink()
        if not is_link and not self.has_links:
            return True
        real = os.path.realpath(entry.path)
        if self._is_read(real) if is_link else real in self._read:
            reason = READ_ALREADY
        elif not is_link:
            return True
        elif _lies_in(self._real, real):
            reason = AROUND
        elif not any(_lies_in(real, root) for root in (self._real, *self._roots)):
            reason = OUTSIDE
        else:
            self.has_links = True
            self._read.add(real)
            return True
        self._passed.add(reason, path)
        return False

    def _is_read(self, real: str) -> bool:
        """Return whether a folder is read anyway: it is read, or lies, not hidden, in a folder that is read."""
        while real not in self._read:
            real, _, name = real.rpartition("/")
            if not real or name.startswith("."):
                return False
        return True


def _lies_in(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")


def _reason(each: Mapping[str, Any]) -> str:
    return re.sub("^link (that leads|to)", _links, each["reason"]) if each["count"] > 1 else each["reason"]


def _links(match: re.Match[str]) -> str:
    return "links that lead" if match[1] == "that leads" else "links to"


def _some(each: Mapping[str, Any]) -> str:
    more = each["count"] - len(each["first"])
    return listed(each["first"]) + (f" and {more:,} more" if more else "")
