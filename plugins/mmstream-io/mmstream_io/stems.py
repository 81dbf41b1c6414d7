"""The stems of an archive's members: those that share a stem belong to one record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from mmstream.errors import MmstreamError, brief

MOST_RECORDS = 1 << 22
"""The most records of an archive, as their stems are kept in memory while it is scanned."""
APART = (
    "members of the record {} are not adjacent in the archive, but they must be; recreate the archive "
    "with `tar --sort=name`"
)


class Stemmed(Protocol):
    """Members that share a stem."""

    stem: str


Some = TypeVar("Some", bound=Stemmed)


class Stems:
    """The stems of an archive; finds stems that recur after a different stem.

    Args:
        path: of the archive.

    Attributes:
        seen: all stems.
        scattered: those that occur again.
        repeats: how often that happens.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.seen: set[str] = set()
        self.scattered: set[str] = set()
        self.repeats = 0

    def noted(self, records: Iterable[Some]) -> Iterator[Some]:
        """Pass on the records, noting the stem of each.

        Raises:
            MmstreamError: there are too many.
        """
        for record in records:
            if record.stem in self.seen:
                self.scattered.add(record.stem)
                self.repeats += 1
            elif record.stem:
                self.seen.add(record.stem)
            if len(self.seen) > MOST_RECORDS:
                raise MmstreamError(
                    f"{self._path} holds more than {MOST_RECORDS:,} records; divide it into several archives"
                )
            yield record


def dots_in(key: str, suffixes: Iterable[str]) -> str:
    """Say why the members of a stem seem to be several records whose names have dots; "" if they do not.

    They do if no suffix is simple, two suffixes have the same beginning ("01.png", "01.json"), and the most frequent
    beginning starts with a digit or there are at least three different ones.
    """
    middles = Counter(suffix.rpartition(".")[0] for suffix in suffixes)
    first, count = middles.most_common(1)[0] if middles else ("", 0)
    if "" in middles or count < 2 or not (len(middles) > 2 or first[:1].isdigit()):
        return ""
    return (
        f"a stem ends at the first dot of a name, so {brief(f'{key}.{first}.*')} and similar names all form one "
        f"record; if they are separate records, use names without dots, such as {brief(f'{key}_{first}')}"
    )
