"""One partition of a topic, read from a position on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import cast

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException, TopicPartition

from mmstream.errors import MmstreamError
from mmstream.interfaces.streams import Message, Stream
from mmstream_kafka import messages, options
from mmstream_kafka.connection import Connection

_MOST_MESSAGES = 500
_WAIT_SECONDS = 0.3
_ASK_SECONDS = 1.0
_SLACK_SECONDS = 1.0  # between a message's time and its arrival
_GONE = (KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION)
_PASSING = (
    *(KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError._TIMED_OUT),
    *(KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART),
    KafkaError.GROUP_AUTHORIZATION_FAILED,  # no group is used
)
"""Errors that pass once a broker is back, or that do not matter."""


class PartitionStream(Stream):
    """Reads the committed messages of a partition, and rides out trouble with brokers for up to a minute.

    Args:
        uri: of the topic.
        partition: its number in the topic.
        position: offset to begin with; None for the earliest that is available.
        key_column: see `messages.row`.

    Attributes:
        reached: everything before this offset has been read.

    Raises:
        MmstreamError: Kafka cannot be reached, or has no such topic or partition.
    """

    def __init__(self, uri: str, partition: int, position: int | None, key_column: str) -> None:
        self._connection = Connection(uri)
        topic = self._connection.address.topic
        self._origin, self._key_column = f"{topic}/{partition}", key_column
        self._place = TopicPartition(topic, partition, OFFSET_BEGINNING if position is None else position)
        self.reached = position or 0
        self._watermark = 0.0
        self._asked = self._failing_since = 0.0  # on the monotonic clock
        with contextlib.ExitStack() as undo:
            self._consumer = self._connection.consumer()
            undo.callback(self._consumer.close)
            partitions = self._connection.partitions(self._consumer)
            if partition not in partitions:
                raise MmstreamError(
                    f"the topic {topic!r} has no partition {partition}; it has {len(partitions)}, numbered from 0"
                )
            self._consumer.assign([self._place])
            undo.pop_all()

    def read(self) -> list[Message]:
        """The next messages; see `Stream.read`."""
        received = self._consumer.consume(1, _WAIT_SECONDS)
        if received:
            received += self._consumer.consume(_MOST_MESSAGES - 1, 0)
        self._connection.check()
        read = [message for each in received if (message := self._message(each)) is not None]
        if read:
            self._answered()
        else:
            self._ask_for_the_end()
        return read

    def watermark(self) -> float:
        """The latest time of a message so far or, while everything that was sent has been read, a second ago."""
        return self._watermark

    def close(self) -> None:
        """Close connections."""
        self._consumer.close()

    def ends(self) -> tuple[int, int]:
        """The earliest offset that is available, and the one after the latest committed message.

        Raises:
            MmstreamError: Kafka does not answer.
        """
        try:
            return self._consumer.get_watermark_offsets(self._place, timeout=options.PATIENCE_SECONDS)
        except KafkaException as error:
            raise self._silence(error.args[0]) from None

    def messages_until(self, end: int) -> Iterator[Message]:
        """The messages before an offset; some offsets may have none.

        Raises:
            MmstreamError: Kafka does not answer, or no longer has the messages.
        """
        while self.reached < end:
            for message in self.read():
                if message.position > end:
                    return
                yield message

    def _message(self, message: confluent_kafka.Message[bytes, bytes]) -> Message | None:
        error, offset = message.error(), message.offset()
        if error is not None:
            self._deal_with(error, offset)
            return None
        assert offset is not None  # only errors may have none
        self.reached = offset + 1
        origin = f"{self._origin}:{offset}"
        row = messages.row(origin, message.key(), message.value(), _headers(message), self._key_column)
        sent = _time(message)
        self._watermark = max(self._watermark, sent)
        return Message(row, sent, offset + 1)

    def _deal_with(self, error: KafkaError, offset: int | None) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self.reached = max(self.reached, offset or 0)  # the last offsets may hold no messages
        elif error.code() in _GONE:
            raise MmstreamError(self._explain_gap(offset))
        elif error.code() in _PASSING:
            self._connection.note(error)
        else:
            raise MmstreamError(f"cannot read {self._origin} from Kafka: {self._connection.explain(error)}")

    def _ask_for_the_end(self) -> None:
        """Nothing has arrived: determine whether the end is reached or Kafka is silent, at most once a second."""
        now, asked = time.monotonic(), time.time()
        if now - self._asked < _ASK_SECONDS:
            return
        try:
            _, committed = self._consumer.get_watermark_offsets(self._place, timeout=_ASK_SECONDS)
        except KafkaException as error:
            self._failing_since = self._failing_since or now
            if now - self._failing_since > options.PATIENCE_SECONDS:
                raise self._silence(error.args[0]) from None
            return
        self._asked = now
        self._answered()
        _, written = self._consumer.get_watermark_offsets(self._place, cached=True)  # open transactions included
        if max(committed, written) <= self.reached:
            self._watermark = max(self._watermark, asked - _SLACK_SECONDS)

    def _explain_gap(self, offset: int | None) -> str:
        topic, partition = self._place.topic, self._place.partition
        low, high = self.ends()
        holds = f"holds offsets {low} to {high - 1}" if high > low else f"is empty and continues at offset {high}"
        return (
            f"offset {offset} does not exist in topic {topic!r}, partition {partition}: the log {holds}; "
            "messages were deleted before they were read, so give the topic a longer retention and start over"
        )

    def _answered(self) -> None:
        self._failing_since = 0.0
        self._connection.forget()

    def _silence(self, error: KafkaError) -> MmstreamError:
        servers, seconds = self._connection.address.servers, options.PATIENCE_SECONDS
        why = self._connection.explain_silence(error)
        return MmstreamError(f"{self._origin} could not be read from Kafka at {servers} for {seconds} seconds: {why}")


def _headers(message: confluent_kafka.Message[bytes, bytes]) -> messages.Headers:
    return cast("messages.Headers", message.headers() or ())  # only producers may give a dict


def _time(message: confluent_kafka.Message[bytes, bytes]) -> float:
    """When a message was sent; the current time if the message does not say, or claims a later one."""
    kind, milliseconds = message.timestamp()
    now = time.time()
    return now if kind == TIMESTAMP_NOT_AVAILABLE else min(milliseconds / 1000, now)
