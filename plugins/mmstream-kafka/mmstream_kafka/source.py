"""Read topics of Kafka as input."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mmstream.errors import MmstreamError
from mmstream.interfaces import Row, Source, Split
from mmstream_kafka.connection import Connection
from mmstream_kafka.stream import PartitionStream


class Kafka(Source):
    """Reads the topic that a URI names: kafka://host1:9092,host2:9092/topic.

    A message is either a JSON object in UTF-8, in which `{"base64": …}` stands for bytes, or the bytes of one column,
    which the header `mmstream-column` names; its other headers are then further columns, as texts. Anything else
    becomes a row with an error, and so do tombstones.

    A job that ends reads committed messages only, up to the end that the topic has when the job starts; each partition
    is read once to count them.

    Args:
        key_column: the column that a message's key becomes, unless the message has that column already.

    Source: https://kafka.apache.org/documentation/
    """

    scheme = "kafka"

    def __init__(self, *, key_column: str = "id") -> None:
        self._key_column = key_column

    def splits(self, path: str) -> list[Split]:
        """One piece for each partition that holds messages.

        Compaction and transactions leave offsets without a message, so that only reading tells how many messages there
        are.

        Raises:
            MmstreamError: the URI is wrong, or Kafka cannot be reached, or has no such topic.
        """
        splits = (self._split(path, int(name)) for name in self.streams(path))
        return [split for split in splits if split.rows]

    def read(self, split: Split) -> Iterator[Row]:
        """The rows of a partition; the origin of each is "<topic>/<partition>:<offset>"."""
        partition = int(split.origin.rpartition("/")[2])
        with contextlib.closing(PartitionStream(split.path, partition, split.start, self._key_column)) as stream:
            for message in stream.messages_until(split.end):
                yield message.row

    def streams(self, path: str) -> list[str]:
        """The numbers of the partitions.

        Raises:
            MmstreamError: the URI is wrong, or Kafka cannot be reached, or has no such topic.
        """
        connection = Connection(path)
        with contextlib.closing(connection.consumer()) as consumer:
            return [str(partition) for partition in connection.partitions(consumer)]

    def stream(self, path: str, name: str, position: int | None) -> PartitionStream:
        """Open a partition, from an offset on.

        Raises:
            MmstreamError: the URI is wrong, or Kafka cannot be reached, or has no such topic or partition.
        """
        if not (name.isascii() and name.isdigit()):
            raise MmstreamError(f"{path} has no partition {name!r}; partitions are numbers")
        return PartitionStream(path, int(name), position, self._key_column)

    def _split(self, path: str, partition: int) -> Split:
        with contextlib.closing(PartitionStream(path, partition, None, self._key_column)) as stream:
            start, end = stream.ends()
            rows = sum(1 for _ in stream.messages_until(end))
        origin = f"{Connection(path).address.topic}/{partition}"
        return Split(path, rows, origin, start, start, end)
