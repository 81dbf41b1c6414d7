"""Publish labels as Kafka messages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from mmstream.errors import MmstreamError
from mmstream.interfaces.streams import Publisher
from mmstream.records.record import DUPLICATE, DeadLetter, json_line
from mmstream_kafka import options
from mmstream_kafka.connection import Connection

KIND_HEADER = "mmstream"
"""Header that says what a message is: "label" or "dead_letter"."""


class KafkaPublisher(Publisher):
    """Sends label rows and dead letters, each a JSON object, to the topic of kafka://host1:9092,host2:9092/topic.

    The key of a message is the record's id, or the origin of a dead letter that has none; its header `mmstream` says
    `label` or `dead_letter`. A message counts as sent once all in-sync replicas have it.

    Source: https://kafka.apache.org/documentation/#semantics
    """

    scheme = "kafka"

    def open(self, uri: str) -> None:
        """Connect.

        Raises:
            MmstreamError: the URI is wrong, or Kafka cannot be reached, or has no such topic.
        """
        self._connection = Connection(uri)
        with contextlib.closing(self._connection.consumer()) as consumer:
            self._connection.partitions(consumer)
        self._producer = self._connection.producer()

    def publish(self, rows: Sequence[Mapping[str, Any]], letters: Sequence[DeadLetter]) -> None:
        """Send some results, and return once all have arrived.

        Raises:
            MmstreamError: not all have arrived within a minute, one is larger than Kafka accepts, or the broker
                refuses.
        """
        failures: list[KafkaError] = []
        with self._telling():
            for row in rows:
                self._send(str(row["id"]), json_line(row), "label", failures)
            for letter in letters:
                key = letter.origin if letter.error == DUPLICATE else letter.id  # the id is another record's
                self._send(key or letter.origin, letter.to_json(), "dead_letter", failures)
            late = self._producer.flush(options.PATIENCE_SECONDS + 5)
        if failures or late:
            raise MmstreamError(self._explain(failures, late, len(rows) + len(letters)))

    def close(self) -> None:
        """Close connections."""
        self._producer.purge()  # messages of a call that failed
        self._producer.close()

    def _send(self, key: str, text: str, kind: str, failures: list[KafkaError]) -> None:
        def delivered(error: KafkaError | None, _: object) -> None:
            if error is not None:
                failures.append(error)

        topic, value, escaped = self._connection.address.topic, text.encode(), key.encode("utf-8", "backslashreplace")
        while True:
            try:
                self._producer.produce(topic, value, escaped, headers={KIND_HEADER: kind}, on_delivery=delivered)
                return
            except BufferError:  # librdkafka's queue is full; what is in it goes, or times out
                self._producer.poll(0.1)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                    raise
                break
        raise MmstreamError(
            f"the {kind.replace('_', ' ')} of {key!r} has {len(value):,} bytes, more than Kafka accepts: "
            "raise the option message.max.bytes, and max.message.bytes of the topic"
        )

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """While the block runs, raise errors that end the producer, in place of any errors that they cause."""
        try:
            yield
            return
        except KafkaException as error:
            failure: KafkaError = error.args[0]
        except SystemError as error:
            if not isinstance(error.__cause__, KafkaException):
                raise
            failure = error.__cause__.args[0]
        topic = self._connection.address.topic
        raise MmstreamError(f"cannot send to the topic {topic!r}: {self._connection.explain(failure)}")

    def _explain(self, failures: list[KafkaError], late: int, total: int) -> str:
        first = failures[0] if failures else KafkaError(KafkaError._MSG_TIMED_OUT)
        timed_out = first.code() == KafkaError._MSG_TIMED_OUT
        why = self._connection.explain_silence(first) if timed_out else self._connection.explain(first)
        when = f" within {options.PATIENCE_SECONDS} seconds" if timed_out else ""
        return (
            f"{len(failures) + late} of {total} messages have not arrived in the topic "
            f"{self._connection.address.topic!r}{when}: {why}"
        )
