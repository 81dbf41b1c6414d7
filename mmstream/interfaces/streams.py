"""The interfaces of streams, which read input without an end, and of publishers. Imports nothing heavy."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from mmstream.interfaces.rows import Row
from mmstream.records.record import DeadLetter


class Message(NamedTuple):
    """A row of a stream.

    Attributes:
        row: a row as any source gives it; its origin is its place in the stream, and never changes.
        time: when it was sent, in seconds since 1970.
        position: where reading continues after it.
    """

    row: Row
    time: float
    position: int


class Stream(abc.ABC):
    """Reads one piece of an input that has no end. Only one worker at a time reads a piece."""

    @abc.abstractmethod
    def read(self) -> Sequence[Message]:
        """Return the next messages in order, at most a few hundred; empty if none arrive within moments.

        A message that cannot be read is a row with an error.

        Raises:
            MmstreamError: the input cannot be reached, or no longer has the next message.
        """

    @abc.abstractmethod
    def watermark(self) -> float:
        """Return the time before which no more messages are expected, in seconds since 1970."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close connections."""


class Publisher(abc.ABC):
    """Sends label rows and dead letters to a message broker, in addition to the files of an output.

    Attributes:
        scheme: the scheme of the URIs to publish to, such as "kafka".
    """

    scheme: ClassVar[str]

    @abc.abstractmethod
    def open(self, uri: str) -> None:
        """Connect.

        Raises:
            MmstreamError: what the URI names does not exist, or cannot be reached.
        """

    @abc.abstractmethod
    def publish(self, rows: Sequence[Mapping[str, Any]], letters: Sequence[DeadLetter]) -> None:
        """Send results, and return when all have arrived. A result that is sent again after a failure has the same key.

        Args:
            rows: label rows; values are texts, numbers, lists of these, or None.
            letters: dead letters.

        Raises:
            MmstreamError: not all have arrived.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Close connections."""
