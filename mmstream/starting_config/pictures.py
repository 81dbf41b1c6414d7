"""Finding the pictures that a column names by an id, or by a path that does not start at the table."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, cast

from mmstream.interfaces import Source
from mmstream.plugins import registry
from mmstream.storage import files

_FILES, _VALUES, _LONGEST = 200_000, 500, 300
"""The most files that are looked through, the most values of a column, and the longest value."""
_DRAWN_OVER = re.compile(r"mask|label|annot|segm|depth|thumb", re.I)
"""Names of folders that hold masks and the like rather than pictures."""


class Named(NamedTuple):
    """A value that may name a picture.

    Attributes:
        text: the value.
        folder: the folder of its table, below the input; "" for the input's own.
    """

    text: str
    folder: str


class Pictures:
    """The media files below a folder.

    Args:
        folder: the folder to look through; a remote one is not looked through.

    Attributes:
        suffixes: the suffixes of media files.
        paths: the paths of the media files, below the folder.
    """

    def __init__(self, folder: str) -> None:
        kinds = (cast("type[Source]", registry.find("source", name)) for name in registry.names("source"))
        self.suffixes = tuple(suffix for kind in kinds if kind.files_are_records for suffix in kind.suffixes)
        paths = () if files.is_remote(folder) else islice(files.list_files(folder), _FILES)
        self.paths = [path for path in paths if path.lower().endswith(self.suffixes)]
        self._by_end: defaultdict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            name = files.name(path)
            self._by_end[name].append(path)
            self._by_end[name.rpartition(".")[0]].append(path)

    def named(self, text: str) -> list[str]:
        """The paths of the files with this name, given with or without its suffix."""
        return self._by_end.get(text, [])

    def reference(self, values: Sequence[tuple[Any, str]]) -> str | None:
        """The `reference` to most of the files that values name, such as "photos/{}.jpg"; None if they name none.

        Files in the folder of the table itself come first, even if only some tables have them: a file of the same name
        beside another table is another picture.

        Args:
            values: the values of a column, each with the folder of its table below the input.
        """
        chosen = values[:: max(len(values) // _VALUES, 1)]
        named = {Named(str(value).strip(), folder) for value, folder in chosen if _may_name(value)}
        tables = {each.folder for each in named}
        own = Counter((template, each.folder) for each in named if each.folder for template in self._own(each))
        sizes = Counter(each.folder for each in named)
        beside: Counter[str] = Counter()
        for (template, folder), count in own.items():
            if 2 * count > sizes[folder]:
                beside[template] += count
        if beside:
            return _best(beside)
        counts = Counter(template for each in named for template in self._templates(each, tables))
        best = _best(counts) if counts else None
        return best if best and counts[best] > len(named) / 2 else None

    def _own(self, named: Named) -> Iterator[str]:
        """References to a file in the folder of the table, relative to it."""
        for path in self._by_end.get(files.name(named.text), ()):
            if path.startswith(f"{named.folder}/"):
                yield from (f"{{folder}}/{end}" for end in _ends(path[len(named.folder) + 1 :], named.text))

    def _templates(self, named: Named, tables: set[str]) -> Iterator[str]:
        for path in self._by_end.get(files.name(named.text), ()):
            if path.rpartition("/")[0] not in tables - {named.folder, ""}:
                yield from _ends(path, named.text)


def _ends(path: str, text: str) -> Iterator[str]:
    """The references by which a text names a file."""
    if text == f"/{path}":
        yield ".{}"
    stem = path.rpartition(".")[0]
    end = path if path.endswith(text) else stem
    if end == text or end.endswith(f"/{text}"):
        yield f"{end.removesuffix(text)}{{}}{path.removeprefix(end)}"


def _best(counts: Counter[str]) -> str:
    return max(counts, key=lambda template: (counts[template], not _DRAWN_OVER.search(template), template))


def _may_name(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and 0 < len(str(value).strip()) <= _LONGEST
