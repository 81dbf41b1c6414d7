"""Which source reads an input: told by the suffixes of its files."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import cast

from mmstream import files, plugins
from mmstream.errors import MmstreamError, choices
from mmstream.interfaces import Source

_MOST_FILES = 10_000


def source_for(path: str) -> str:
    """The name of the source that reads a file, a folder, or a pattern as "shards/*.tar".

    In a folder, a table at the top tells (the pictures beside it are what its rows name); without one, the kind of
    most files does.

    Raises:
        MmstreamError: none does, or several might.
    """
    if found := source_of_scheme(path):
        return found
    kinds = _kinds()
    if files.is_pattern(path):
        paths = [files.name(match) for match in files.match(path)]
    elif files.is_folder(path):
        paths = list(islice(files.list_files(path), _MOST_FILES))
    elif files.exists(path):
        paths = [files.name(path)]
    else:
        raise MmstreamError(f"there is no {path}")
    counted = Counter(name for name in (_reads(file, kinds) for file in paths) if name)
    tables = {_reads(file, kinds) for file in paths if "/" not in file} - {"", *_of_media(kinds)}
    if len(tables) > 1:
        raise MmstreamError(f"{path} holds several kinds of tables ({', '.join(sorted(tables))}); name the file itself")
    if tables:
        return tables.pop()
    if not counted:
        raise MmstreamError(f"no source reads {path}; name one with `source`. {choices(path, kinds)}")
    return counted.most_common(1)[0][0]


def source_of_scheme(path: str) -> str:
    """The name of the source that reads URIs of this scheme, which are no files, as "kafka://…"; "" for none."""
    scheme = files.scheme(path)
    return next((name for name, cls in _kinds().items() if scheme and cls.scheme == scheme), "")


def _kinds() -> dict[str, type[Source]]:
    return {name: cast("type[Source]", plugins.find("source", name)) for name in plugins.names("source")}


def _reads(path: str, kinds: dict[str, type[Source]]) -> str:
    """The source with the longest suffix that a file has, "" for none."""
    name = files.name(path)
    fitting = [
        (len(suffix), kind)
        for kind, cls in kinds.items()
        for suffix in cls.suffixes
        if files.has_suffix(name, (suffix,))
    ]
    return max(fitting, default=(0, ""))[1]


def _of_media(kinds: dict[str, type[Source]]) -> set[str]:
    return {name for name, cls in kinds.items() if cls.files_are_records}
