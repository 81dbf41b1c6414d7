"""The interfaces of sources, which read records, and of sinks, which write labels."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from mmstream.interfaces.rows import PassedOver, Row, Split
from mmstream.interfaces.streams import Stream
from mmstream.interfaces.suggestion import Suggestion
from mmstream.interfaces.tensors import LabelType
from mmstream.storage.suffixes import has_suffix


class Source(abc.ABC):
    """Reads records. Constructor parameters after `*` come from `source:` in the config."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    """Suffixes of the files that it reads, in lower case, such as ".jsonl"; a folder's files are recognised by them."""
    files_are_records: ClassVar[bool] = False
    """Whether each file is a record, as in a folder of pictures, and is read as `Split(path, 1, origin)`; otherwise, a
    file holds many records."""
    scheme: ClassVar[str] = ""
    """The scheme of the URIs that it reads, such as "kafka", if these are not files."""
    roots: Sequence[str] = ()
    """Folders, besides that of the input, that links in it may lead to; mmstream sets them."""
    passed_over: Sequence[PassedOver] = ()
    """What the last call of `splits` passed over, which is reported to users. A source that looks through a folder sets
    it."""

    @classmethod
    def suggest(cls, path: str) -> Suggestion | None:
        """Suggest the parameters with which to read an input, for `mmstream init`; None if the defaults fit.

        Args:
            path: the same path as for `splits`.

        Raises:
            MmstreamError: it cannot be read with any known parameters.
        """
        return None

    @abc.abstractmethod
    def splits(self, path: str) -> Sequence[Split]:
        """Return the pieces of the input, in a fixed order.

        Code that takes long must call `mmstream.runtime.alive.progress` now and then: after `--stall-timeout` without a
        sign of life, the source counts as hung, and the command is ended.

        Args:
            path: a file, a folder, or a pattern such as "shards/*.tar"; see `mmstream.storage.patterns`.

        Raises:
            MmstreamError: the path does not exist, or is not of this kind.
        """

    @abc.abstractmethod
    def read(self, split: Split) -> Iterator[Row]:
        """Yield the rows of one piece. A bad row is yielded with its error; it never ends the reading.

        Code that takes long before it yields a row must call `mmstream.runtime.alive.progress`, as in `splits`.
        """

    def reads(self, path: str) -> bool:
        """Return whether the source reads this file of a folder: by its suffix, unless a source looks into the file."""
        return has_suffix(path, self.suffixes)

    def streams(self, path: str) -> Sequence[str]:
        """Return stable names of the pieces of an input that has no end; none for files, which mmstream itself watches.

        Raises:
            MmstreamError: the input does not exist, or cannot be reached.
        """
        return ()

    def stream(self, path: str, name: str, position: int | None) -> Stream:
        """Open a piece of an input that has no end, to be read from a position on; from its start if that is None.

        Raises:
            MmstreamError: the input does not exist, or cannot be reached.
        """
        raise TypeError(f"{type(self).__name__} has no streams")


class Sink(abc.ABC):
    """Turns label rows into the bytes of one file and back; mmstream writes, checksums and commits them."""

    suffix: ClassVar[str]

    @abc.abstractmethod
    def dumps(self, rows: Sequence[Mapping[str, Any]], schema: Mapping[str, LabelType]) -> bytes:
        """Write a file. Equal rows give equal bytes; no rows give a valid, empty file."""

    @abc.abstractmethod
    def loads(self, data: bytes, schema: Mapping[str, LabelType]) -> list[dict[str, Any]]:
        """Read the rows of a file that `dumps` made; columns that the schema does not have are read as texts."""
