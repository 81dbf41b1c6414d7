"""Connections to Kafka, and errors that say what is wrong without showing a password."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from mmstream.errors import MmstreamError
from mmstream_kafka import options

_START_SECONDS = 10
_URI = re.compile(r"kafka://([^/?#\s]+)/([A-Za-z0-9._-]{1,249})")
_TELLING = 16  # a text with this many characters of an option's value counts as holding it
_NAMES_OF_METHODS = ("security.protocol", "sasl.mechanism", "sasl.mechanisms")
_METHODS = (
    *("plaintext", "ssl", "sasl_plaintext", "sasl_ssl"),
    *("plain", "scram-sha-256", "scram-sha-512", "oauthbearer", "gssapi"),
)
_HOPELESS = (
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)
_Client = TypeVar("_Client", Consumer, Producer)


class Address(NamedTuple):
    """What a URI names.

    Attributes:
        servers: "host1:9092,host2:9092".
        topic: the name of the topic.
    """

    servers: str
    topic: str


def address_of(uri: str) -> Address:
    """The servers and the topic of a URI.

    >>> address_of("kafka://one:9092,two:9092/pictures")
    Address(servers='one:9092,two:9092', topic='pictures')

    Raises:
        MmstreamError: it is not a Kafka URI; what may be a password is not shown.
    """
    if "@" in uri:
        raise MmstreamError(
            "a kafka:// URI must not contain a user or a password: "
            f"set {options.PREFIX}SASL_USERNAME and {options.PREFIX}SASL_PASSWORD in the environment"
        )
    match = _URI.fullmatch(uri)
    if match is None:
        shown = re.split(r"[?#]", uri)[0]
        raise MmstreamError(f"expected kafka://host1:9092,host2:9092/topic; found {shown!r}")
    return Address(match[1], match[2])


class Connection:
    """Makes consumers and producers, and keeps the errors that they report.

    Args:
        uri: of a topic.

    Attributes:
        address: what the URI names.

    Raises:
        MmstreamError: the URI is wrong, or an option may not be set.
    """

    def __init__(self, uri: str) -> None:
        self.address = address_of(uri)
        self._options = options.options_of(os.environ)
        self._trouble: KafkaError | None = None
        self._hopeless: KafkaError | None = None

    def consumer(self) -> Consumer:
        """Make a consumer without an assignment.

        Raises:
            MmstreamError: librdkafka refuses an option.
        """
        return self._client(Consumer, options.CONSUMER)

    def producer(self) -> Producer:
        """Make an idempotent producer.

        Raises:
            MmstreamError: librdkafka refuses an option.
        """
        return self._client(Producer, options.PRODUCER)

    def partitions(self, consumer: Consumer) -> list[int]:
        """The partitions of the topic, as a consumer sees them: if a producer asked, Kafka would create the topic.

        Raises:
            MmstreamError: Kafka does not answer, or has no such topic.
        """
        servers, topic = self.address
        try:
            metadata = consumer.list_topics(topic, timeout=_START_SECONDS).topics[topic]
        except KafkaException as error:
            metadata, failure = None, error.args[0]
        if metadata is None:
            consumer.poll(0)  # delivers the errors of the connections
            raise MmstreamError(f"cannot reach Kafka at {servers}: {self.explain_silence(failure)}")
        if metadata.error is not None and metadata.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise MmstreamError(f"Kafka at {servers} has no topic {topic!r}; create it first, or correct its name")
        if metadata.error is not None:
            raise MmstreamError(f"cannot use the topic {topic!r} of Kafka at {servers}: {self.explain(metadata.error)}")
        return sorted(metadata.partitions)

    def note(self, error: KafkaError) -> None:
        """Keep an error that librdkafka handles itself, or that `check` is to raise."""
        if error.fatal() or error.code() in _HOPELESS:
            self._hopeless = error
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # says less than the errors before it
            self._trouble = error

    def check(self) -> None:
        """Raise the noted error that trying again cannot cure, if there is one.

        Raises:
            MmstreamError: the broker refuses this client, or librdkafka gives up.
        """
        if self._hopeless is not None:
            raise MmstreamError(f"Kafka at {self.address.servers} failed: {self.explain(self._hopeless)}")

    def forget(self) -> None:
        """Forget past errors, because Kafka answers again."""
        self._trouble = None

    def explain_silence(self, error: KafkaError) -> str:
        """Explain why nothing arrives: the last error of a connection, or else the timeout."""
        return self.explain(self._trouble or error)

    def explain(self, error: KafkaError) -> str:
        """The text of an error, without details if they hold the value of an option, as librdkafka's texts may."""
        text = " ".join(error.str().split())
        if any(value[:_TELLING] in text for name, value in self._options.items() if not _is_public(name, value)):
            return str(KafkaError(error.code()).str())
        return text

    def _client(self, kind: type[_Client], own: Any) -> _Client:
        settings = options.config(self.address.servers, own, self._options)
        try:
            return kind({**settings, "error_cb": self.note})
        except KafkaException as error:
            failure: KafkaError = error.args[0]
        # Raised out here, so that no traceback holds the text of the other error.
        named = [name for name in self._options if re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", failure.str())]
        names = " or ".join(named or sorted(self._options))
        hint = "https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md lists all options"
        raise MmstreamError(f"Kafka's client refuses the option {names}: {self.explain(failure)}; {hint}")


def _is_public(name: str, value: str) -> bool:
    """Whether an option's value is certainly not a secret: a word from the documentation, or empty."""
    return not value or (name in _NAMES_OF_METHODS and value.lower() in _METHODS)
