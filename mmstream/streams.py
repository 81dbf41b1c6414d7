"""What a plugin implements that reads input without an end, or sends labels on. Light, as `mmstream.interfaces` is."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from mmstream.interfaces import Row
from mmstream.records import DeadLetter


class Message(NamedTuple):
    """A row of a stream.

    Attributes:
        row: as any source gives it; its origin says where in the stream it stands, and is always the same.
        time: when it was sent, in seconds since 1970.
        position: where reading goes on after it.
    """

    row: Row
    time: float
    position: int


class Stream(abc.ABC):
    """Reads one piece of an input that has no end. Only one worker at a time reads a piece."""

    @abc.abstractmethod
    def read(self) -> Sequence[Message]:
        """What comes next, a few hundred at most, in order; nothing where nothing has come. Waits for a moment at most.

        A message that cannot be read is a row with an error.

        Raises:
            MmstreamError: whatever it reads from cannot be reached, or no longer has what should come next.
        """

    @abc.abstractmethod
    def watermark(self) -> float:
        """No message that is still to come is older, as far as anybody can tell; in seconds since 1970."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of connections."""


class Publisher(abc.ABC):
    """Sends label rows and dead letters to where others wait for them, beside the files of an output.

    Attributes:
        scheme: of the URIs that name such places, as "kafka".
    """

    scheme: ClassVar[str]

    @abc.abstractmethod
    def open(self, uri: str) -> None:
        """Connect.

        Raises:
            MmstreamError: there is no such place, or it cannot be reached.
        """

    @abc.abstractmethod
    def publish(self, rows: Sequence[Mapping[str, Any]], letters: Sequence[DeadLetter]) -> None:
        """Send some, and return when all have arrived. What is sent again after a failure has the same key.

        Args:
            rows: label rows; values are texts, numbers, lists of these, or None.
            letters: dead letters.

        Raises:
            MmstreamError: not all have arrived.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of connections."""
