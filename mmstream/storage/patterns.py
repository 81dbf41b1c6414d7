"""Patterns such as "shards/*.tar", which stand for all files that match them, and the folder of an input.

`*` and `?` match within the name of a file or folder, `**` across folders. If a file or folder has a name that looks
like a pattern, such as "trip [2023]", the name stands for that file or folder.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator

from mmstream.errors import listed
from mmstream.storage import disk, files

_WILDCARD = re.compile(r"[*?\[]")


def is_pattern(path: str) -> bool:
    """Return whether a path is a pattern; it is not if a file or folder has this exact name."""
    return _has_wildcard(path) and not files.exists(path)


def input_folder(path: str) -> str:
    """Return the folder of an input's files: the input itself, the parent of a file, or the start of a pattern.

    >>> input_folder("no_such_folder/*/more/*.tar")
    'no_such_folder'
    """
    if not is_pattern(path):
        return path if files.is_folder(path) else files.parent(path)
    steps = path.split("/")
    fixed = 0
    while fixed < len(steps) - 1 and not _is_wild("/".join(steps[: fixed + 1])):
        fixed += 1
    return "/".join(steps[:fixed]) or ("/" if path.startswith("/") else ".")


def matches(pattern: str) -> list[str]:
    """Return the files that match a pattern, sorted.

    Raises:
        OSError: a folder along the pattern cannot be read.
    """
    if files.is_remote(pattern):
        return files.remote_matches(pattern)
    return sorted(path for path in _local_matches(pattern) if not files.is_folder(path))


def nothing_matches(pattern: str) -> str:
    """Write the message that no file matches a pattern, with what lies in the folder where it starts."""
    folder = input_folder(pattern)
    if not files.is_folder(folder):
        return f"no file matches {pattern}: there is no folder {folder}"
    return f"no file matches {pattern}. {folder} holds: {listed(_names_in(folder)) or 'nothing'}"


def _has_wildcard(text: str) -> bool:
    return bool(_WILDCARD.search(text))


def _is_wild(path: str) -> bool:
    """Return whether the last step of a path is a pattern, not the name of a file or folder."""
    return _has_wildcard(files.name(path)) and (files.is_remote(path) or not files.exists(path))


def _names_in(folder: str) -> Iterator[str]:
    """Give the names in a folder that are not hidden; those of folders end in a slash."""
    if files.is_remote(folder):
        return files.list_files(folder)
    visible = (entry for entry in disk.entries(folder) if not entry.name.startswith("."))
    return (f"{entry.name}/" if disk.is_folder(entry) else entry.name for entry in visible)


def _local_matches(pattern: str) -> set[str]:
    """Return the files and folders of this machine that match a pattern.

    Raises:
        OSError: a folder along the pattern cannot be read.
    """
    first, *steps = pattern.split("/")
    if first:
        return set(_continued([""], [first, *steps]))
    return set(_continued(["/"], steps))


def _continued(starts: list[str], steps: list[str]) -> Iterator[str]:
    """Yield the paths that begin with one of `starts` ("" or a folder with its slash) and continue as `steps` say."""
    if not steps:
        yield from (start.rstrip("/") for start in starts)
        return
    step, *rest = steps
    for start in starts:
        if step == "**":
            folders = [entry for entry in disk.entries(start) if disk.is_folder(entry) and not entry.is_symlink()]
            below = [f"{start}{entry.name}/" for entry in folders if not entry.name.startswith(".")]
            yield from _continued([start], rest or ["*"])
            yield from _continued(below, steps)
        elif not _has_wildcard(step) or (step != "*" and disk.about(start + step) is not None):
            if disk.about(start + step) is not None:
                yield from _continued([f"{start}{step}/" if rest else start + step], rest)
        else:
            names = [entry.name for entry in disk.entries(start) if entry.name.startswith(".") <= step.startswith(".")]
            matching = fnmatch.filter(names, step)
            yield from _continued([f"{start}{name}/" if rest else start + name for name in matching], rest)
