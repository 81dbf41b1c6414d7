"""Recognising files by suffix."""

from __future__ import annotations

import re

_SHARD = re.compile(r"-\d+-of-\d+$")


def has_suffix(path: str, suffixes: tuple[str, ...]) -> bool:
    """Return whether a file name ends in one of some suffixes, ignoring case and a shard number ("-00003-of-00010")."""
    return unsharded(path).endswith(suffixes)


def unsharded(path: str) -> str:
    """Convert a path to lower case, and remove a shard number at its end."""
    return _SHARD.sub("", path.lower())
