"""The Kafka plugin against a real broker."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AclOperation
from kafka_server import PASSWORD, READER, make_certificate
from kafka_server import Kafka as Broker
from mmstream_kafka import connection, options
from mmstream_kafka.publisher import KafkaPublisher
from mmstream_kafka.source import Kafka

from mmstream.errors import MmstreamError
from mmstream.interfaces.streams import Message, Stream
from mmstream.records.record import DeadLetter
from mmstream.testing import SourceContract

PNG = b"\x89PNG\xff\x00"
IMAGE = {"mmstream-column": b"image", "caption": "一只猫"}
OLD = 1_000_000  # milliseconds since 1970
_numbers = itertools.count()


def row(number: int) -> bytes:
    return json.dumps({"id": str(number)}).encode()


FORMATS: Sequence[dict[str, Any]] = [
    {"value": json.dumps({"id": 1, "text": "猫"}).encode(), "key": b"other"},
    {"value": json.dumps({"image": {"base64": base64.b64encode(PNG).decode()}}).encode(), "key": "二".encode()},
    {"value": None, "key": b"tombstone"},
    {"value": PNG, "key": b"3", "headers": IMAGE},
    {"value": b'{"id": 4', "key": b"4"},
    {"value": b"\xff", "key": b"5"},
    {"value": json.dumps({"id": "6", "image": "pictures/6.png"}).encode()},
]
COLUMNS = [
    {"id": 1, "text": "猫"},
    {"id": "二", "image": PNG},
    None,
    {"id": "3", "image": PNG, "caption": "一只猫"},
    None,
    None,
    {"id": "6", "image": "pictures/6.png"},
]


def send(kafka: Broker, topic: str, messages: Sequence[dict[str, Any]], partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    for message in messages:
        producer.produce(topic, partition=partition, **message)
    assert producer.flush(30) == 0


def uri(kafka: Broker, topic: str) -> str:
    return f"kafka://{kafka.bootstrap}/{topic}"


@pytest.fixture
def topic(kafka: Broker) -> str:
    """A new topic with two partitions."""
    name = f"pictures-{next(_numbers)}"
    kafka.create_topic(name, 2)
    return name


@contextlib.contextmanager
def streaming(kafka: Broker, topic: str, position: int | None = None, partition: str = "0") -> Iterator[Stream]:
    with contextlib.closing(Kafka().stream(uri(kafka, topic), partition, position)) as stream:
        yield stream


def take(stream: Stream, count: int) -> list[Message]:
    found: list[Message] = []
    end = time.monotonic() + 30
    while len(found) < count and time.monotonic() < end:
        found += stream.read()
    assert len(found) == count
    return found


def read_until(stream: Stream, fact: Any) -> None:
    end = time.monotonic() + 30
    while not fact():
        assert time.monotonic() < end
        assert stream.read() == []


def received(kafka: Broker, topic: str, count: int) -> list[tuple[Any, ...]]:
    """What a consumer of somebody else's gets: key, header, value."""
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap, "group.id": topic, "auto.offset.reset": "earliest", "log_level": 0}
    )
    with contextlib.closing(consumer):
        consumer.assign([TopicPartition(topic, 0, 0), TopicPartition(topic, 1, 0)])
        found: list[Any] = []
        while len(found) < count:
            found += consumer.consume(count, 5)
        assert consumer.consume(1, 0.5) == []
    return sorted((each.key().decode(), each.headers(), json.loads(each.value())) for each in found)


@pytest.fixture(scope="module")
def contract(kafka: Broker) -> str:
    """The URI of a topic that holds all formats."""
    kafka.create_topic("contract", 2)
    send(kafka, "contract", FORMATS)
    return uri(kafka, "contract")


class TestKafkaSource(SourceContract):
    """Reading a topic to its end keeps the contract of any source."""

    name = "kafka"
    path = ""
    files = {}
    rows = {f"contract/0:{offset}": columns for offset, columns in enumerate(COLUMNS)}
    test_says_what_it_reads = None  # no files

    @pytest.fixture
    def input_path(self, contract: str) -> str:
        return contract


def test_a_stream_gives_the_same_rows_with_times_and_positions(kafka, topic):
    send(kafka, topic, [{**message, "timestamp": OLD + number} for number, message in enumerate(FORMATS)])
    with streaming(kafka, topic) as stream:
        found = take(stream, len(FORMATS))
        assert [message.row.columns for message in found] == COLUMNS
        assert [message.row.origin for message in found] == [f"{topic}/0:{n}" for n in range(len(FORMATS))]
        assert [message.position for message in found] == list(range(1, len(FORMATS) + 1))
        assert [message.time for message in found] == [1000 + n / 1000 for n in range(len(FORMATS))]
        assert [message.row.error is None for message in found] == [columns is not None for columns in COLUMNS]
        assert {(m.row.origin, m.row.raw) for m in found if m.row.error} == {
            *((f"{topic}/0:2", ""), (f"{topic}/0:4", '{"id": 4'), (f"{topic}/0:5", b"\xff"))
        }


def test_a_stream_goes_on_from_a_position(kafka, topic):
    send(kafka, topic, [{"value": row(n)} for n in range(1200)])
    with streaming(kafka, topic) as stream:
        first = take(stream, len(stream.read()) or 1)
        assert all(len(stream.read()) <= 500 for _ in range(3))
    position = first[-1].position
    with streaming(kafka, topic, position) as stream:
        rest = take(stream, 1200 - position)
    assert [m.row.columns["id"] for m in rest] == [str(n) for n in range(position, 1200)]
    with streaming(kafka, topic, 1200) as stream:
        assert [stream.read() for _ in range(3)] == [[], [], []]
        send(kafka, topic, [{"value": row(1200)}])
        assert take(stream, 1)[0].position == 1201


def test_every_partition_is_a_split_and_a_stream_and_an_empty_one_is_no_split(kafka, topic):
    source, path = Kafka(key_column="name"), uri(kafka, topic)
    assert source.splits(path) == []
    send(kafka, topic, [{"value": row(1), "key": b"k"}], partition=1)
    (split,) = source.splits(path)
    assert (split.origin, split.rows, split.start, split.end) == (f"{topic}/1", 1, 0, 1)
    send(kafka, topic, [{"value": row(2)}] * 2, partition=0)
    assert [split.rows for split in source.splits(path)] == [2, 1]
    assert [r.columns for r in source.read(split)] == [{"id": "1", "name": "k"}], "what came later is not read"
    assert source.streams(path) == ["0", "1"]
    with streaming(kafka, topic, partition="1") as stream:
        assert take(stream, 1)[0].row.origin == f"{topic}/1:0"


def test_transactions_are_read_when_committed_and_leave_gaps_that_are_no_rows(kafka, topic):
    writer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": topic, "log_level": 0})
    writer.init_transactions()
    for number, end in enumerate((writer.commit_transaction, writer.abort_transaction, writer.commit_transaction)):
        writer.begin_transaction()
        writer.produce(topic, row(number), partition=0, timestamp=OLD)
        writer.flush()
        end()
    (split,) = Kafka().splits(uri(kafka, topic))
    assert (split.rows, split.end) == (2, 6)
    assert [r.columns["id"] for r in Kafka().read(split)] == ["0", "2"]

    writer.begin_transaction()
    writer.produce(topic, row(3), partition=0, timestamp=OLD)
    writer.flush()
    assert Kafka().splits(uri(kafka, topic)) == [split]
    with streaming(kafka, topic) as stream:
        take(stream, 2)
        assert [stream.read() for _ in range(6)] == [[]] * 6
        assert stream.watermark() == OLD / 1000, "what a transaction holds back is still to come"
        writer.commit_transaction()
        assert take(stream, 1)[0].row.origin == f"{topic}/0:6"
        read_until(stream, lambda: stream.watermark() > OLD / 1000)


def test_the_watermark_is_the_largest_time_and_goes_on_at_the_end(kafka, topic):
    started = time.time()
    ahead = int(started * 1000) + 3_600_000
    send(kafka, topic, [{"value": row(n), "timestamp": OLD + late} for n, late in enumerate((0, 5000, 2000))])
    with streaming(kafka, topic) as stream:
        assert stream.watermark() < started
        assert [m.time for m in take(stream, 3)] == [1000, 1005, 1002]
        assert stream.watermark() == 1005
        read_until(stream, lambda: stream.watermark() > started - 1)
        reached = stream.watermark()
        assert reached <= time.time() - 1
        send(kafka, topic, [{"value": row(3), "timestamp": OLD}, {"value": row(4), "timestamp": ahead}])
        late, early = take(stream, 2)
        assert late.time == 1000
        assert started < early.time <= time.time(), "nothing comes from the future"
        assert stream.watermark() >= reached


def test_an_offset_that_retention_removed_is_named_with_what_is_left(kafka, topic):
    send(kafka, topic, [{"value": row(n)} for n in range(10)])
    client = kafka.admin()
    for future in client.delete_records([TopicPartition(topic, 0, 7)]).values():
        future.result()
    said = f"offset 3 does not exist in topic '{topic}', partition 0: the log holds offsets 7 to 9"
    with streaming(kafka, topic, 3) as stream, pytest.raises(MmstreamError, match=said):
        take(stream, 1)
    with streaming(kafka, topic, 11) as stream, pytest.raises(MmstreamError, match=r"offset 11 .* 7 to 9"):
        take(stream, 1)
    with streaming(kafka, topic) as stream:
        assert [m.position for m in take(stream, 3)] == [8, 9, 10]
    (split,) = Kafka().splits(uri(kafka, topic))
    assert (split.start, split.rows, split.end) == (7, 3, 10)
    with pytest.raises(MmstreamError, match="offset 0 "):
        list(Kafka().read(split._replace(start=0)))


def test_a_broker_that_goes_and_comes_back_is_ridden_out(kafka, monkeypatch):
    topic = "restarts"
    kafka.create_topic(topic)
    send(kafka, topic, [{"value": row(n), "timestamp": OLD} for n in range(3)])
    publisher = KafkaPublisher()
    publisher.open(uri(kafka, topic))
    with contextlib.closing(publisher), streaming(kafka, topic) as stream:
        take(stream, 3)
        read_until(stream, lambda: stream.watermark() > OLD)
        kafka.stop()
        stopped = time.time()
        assert [stream.read() for _ in range(6)] == [[]] * 6
        assert stream.watermark() < stopped, "nobody knows what is sent meanwhile"

        kafka.start()
        publisher.publish([{"id": "3"}], [])
        assert [(m.row.columns, m.position) for m in take(stream, 1)] == [({"id": "3"}, 4)]
        read_until(stream, lambda: stream.watermark() > stopped)

        monkeypatch.setattr(options, "PATIENCE_SECONDS", 1)
        publisher.open(uri(kafka, topic))
        kafka.kill()
        with pytest.raises(
            MmstreamError, match=f"{topic}/0 could not be read from Kafka at .* for 1 seconds: .*Connection refused"
        ):
            read_until(stream, lambda: False)
        with pytest.raises(MmstreamError, match=f"2 of 2 messages have not arrived in the topic '{topic}' within 1"):
            publisher.publish([{"id": "4"}, {"id": "5"}], [])
        monkeypatch.undo()
        kafka.start()
        publisher.open(uri(kafka, topic))
        publisher.publish([{"id": "6"}], [])
        assert [m.row.columns["id"] for m in take(stream, 1)] == ["6"], "what was given up is not sent later"


def test_what_is_not_there_is_said_in_one_sentence(kafka, topic, monkeypatch):
    source, missing = Kafka(), uri(kafka, "no_such_topic")
    publisher = KafkaPublisher()
    for what in (source.splits, source.streams, lambda path: source.stream(path, "0", None), publisher.open):
        with pytest.raises(MmstreamError, match=f"^Kafka at {kafka.bootstrap} has no topic 'no_such_topic'; .*$"):
            what(missing)
    assert "no_such_topic" not in kafka.admin().list_topics(timeout=10).topics, "asking must not create it"
    with pytest.raises(MmstreamError, match="has no partition 2; it has 2, numbered from 0"):
        source.stream(uri(kafka, topic), "2", None)
    with pytest.raises(MmstreamError, match="no partition 'a'; partitions are numbers"):
        source.stream(uri(kafka, topic), "a", None)

    monkeypatch.setattr(connection, "_START_SECONDS", 1)
    for what in (source.splits, publisher.open):
        with pytest.raises(MmstreamError, match=r"^cannot reach Kafka at 127\.0\.0\.1:1: .*Connection refused.*$"):
            what("kafka://127.0.0.1:1/pictures")


def test_a_topic_that_is_deleted_is_an_error_when_it_stays_away(kafka, topic, monkeypatch):
    send(kafka, topic, [{"value": row(1)}])
    monkeypatch.setattr(options, "PATIENCE_SECONDS", 1)
    with streaming(kafka, topic) as stream:
        take(stream, 1)
        client = kafka.admin()
        client.delete_topics([topic])[topic].result()
        with pytest.raises(
            MmstreamError, match=f"{topic}/0 could not be read from Kafka at .* for 1 seconds: .*[Uu]nknown"
        ):
            read_until(stream, lambda: False)


def test_labels_and_dead_letters_arrive_with_keys_and_headers(kafka, topic):
    letters = [
        DeadLetter(
            id="坏",
            origin=f"{topic}/0:7",
            stage="decode",
            field="image",
            component="field:image",
            error="ValueError",
            message="broken",
            row={"id": "坏"},
            digest="d",
        ),
        DeadLetter(
            origin=f"{topic}/0:8",
            stage="read",
            component="source:kafka",
            error="ValueError",
            message="no JSON",
            row="{",
            digest="d",
        ),
    ]
    rows = [{"id": "1", "word": "猫", "word_score": 0.5, "tags": ["a"], "none": None}, {"id": "\ud800"}]
    publisher = KafkaPublisher()
    publisher.open(uri(kafka, topic))
    with contextlib.closing(publisher):
        publisher.publish(rows, letters)
        publisher.publish([], [])
    label, letter = [("mmstream", b"label")], [("mmstream", b"dead_letter")]
    assert received(kafka, topic, 4) == sorted(
        [
            ("1", label, rows[0]),
            ("\\ud800", label, rows[1]),
            ("坏", letter, json.loads(letters[0].to_json())),
            (f"{topic}/0:8", letter, json.loads(letters[1].to_json())),
        ]
    )


def test_a_message_that_kafka_does_not_take_is_named(kafka, topic):
    publisher = KafkaPublisher()
    publisher.open(uri(kafka, topic))
    with contextlib.closing(publisher), pytest.raises(MmstreamError, match=r"the label of 'large' has 2,000,\d+ bytes"):
        publisher.publish([{"id": "1"}, {"id": "large", "text": "x" * 2_000_000}], [])


@pytest.fixture
def as_reader(kafka, monkeypatch, tmp_path):
    """The environment of READER, who comes over TLS, and must show a password."""
    config = tmp_path / "kafka.properties"
    config.write_text(f"""# as docs/kafka.md has it
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.username={READER}
ssl.ca.location={kafka.authority}
""")
    monkeypatch.setenv("MMSTREAM_KAFKA_CONFIG", str(config))
    monkeypatch.setenv("MMSTREAM_KAFKA_SASL_PASSWORD", PASSWORD)
    yield
    kafka.allow_nothing()


def test_topics_are_published_to_and_read_over_tls_with_a_password(kafka, topic, as_reader):
    secure, source, publisher = f"kafka://{kafka.secure}/{topic}", Kafka(), KafkaPublisher()
    kafka.allow(AclOperation.WRITE, topic)
    kafka.allow(AclOperation.READ, topic)
    rows = [{"id": str(number)} for number in range(20)]
    with contextlib.closing(publisher):
        publisher.open(secure)
        publisher.publish(rows, [])
    splits = source.splits(secure)
    found = [each.columns for split in splits for each in source.read(split)]
    assert sorted(found, key=lambda columns: int(columns["id"])) == rows
    for split in splits:
        with contextlib.closing(source.stream(secure, split.origin.removeprefix(f"{topic}/"), None)) as stream:
            take(stream, split.rows)


def check_that_publishing_fails(uri: str, error: str) -> None:
    publisher = KafkaPublisher()
    publisher.open(uri)
    with contextlib.closing(publisher), pytest.raises(MmstreamError, match=error):
        publisher.publish([{"id": "1"}], [])


def test_who_may_not_is_told_so(kafka, topic, as_reader, monkeypatch):
    secure, source, publisher = f"kafka://{kafka.secure}/{topic}", Kafka(), KafkaPublisher()
    for what in (source.splits, publisher.open):
        with pytest.raises(MmstreamError, match=f"^cannot use the topic '{topic}' of .*: Topic authorization failed$"):
            what(secure)
    send(kafka, topic, [{"value": row(1)}])
    kafka.allow(AclOperation.DESCRIBE, topic)
    with pytest.raises(MmstreamError, match=f"^cannot read {topic}/0 from Kafka: .*Topic authorization failed$"):
        source.splits(secure)
    refused = f"^cannot send to the topic '{topic}': .*Cluster authorization failed$"  # there is none it may write to
    check_that_publishing_fails(secure, refused)
    kafka.create_topic(f"{topic}-own")
    kafka.allow(AclOperation.WRITE, f"{topic}-own")
    check_that_publishing_fails(secure, f"^1 of 1 messages .* the topic '{topic}': .*Topic authorization failed$")

    monkeypatch.setenv("MMSTREAM_KAFKA_SASL_PASSWORD", "wrong")
    with pytest.raises(MmstreamError, match=r"^cannot reach Kafka .* SASL authentication error: .* credentials"):
        source.splits(secure)


def test_a_broker_that_nobody_vouches_for_gets_no_password(kafka, topic, as_reader, monkeypatch, tmp_path):
    kafka.allow(AclOperation.READ, topic)
    monkeypatch.setenv("MMSTREAM_KAFKA_SSL_CA_LOCATION", str(make_certificate(tmp_path)))
    with pytest.raises(MmstreamError, match=r"^cannot reach Kafka .*:certificate verify failed"):
        Kafka().splits(f"kafka://{kafka.secure}/{topic}")


def test_secrets_do_not_show(kafka, topic, monkeypatch, capfd):
    secrets = ("agnes-the-user", "hunter2-秘密")
    for name, value in zip(("USERNAME", "PASSWORD", "MECHANISM"), (*secrets, "PLAIN"), strict=True):
        monkeypatch.setenv(f"MMSTREAM_KAFKA_SASL_{name}", value)
    monkeypatch.setattr(connection, "_START_SECONDS", 1)
    for protocol in ("SASL_PLAINTEXT", "SASL_SSL"):  # the broker knows neither
        monkeypatch.setenv("MMSTREAM_KAFKA_SECURITY_PROTOCOL", protocol)
        for what in (Kafka().splits, KafkaPublisher().open):
            with pytest.raises(MmstreamError, match=f"cannot reach Kafka at {kafka.bootstrap}: ") as raised:
                what(uri(kafka, topic))
            assert not any(value in str(raised.value) for value in secrets)
    said = "".join(capfd.readouterr())
    assert not any(value in said for value in secrets)
    monkeypatch.setenv("MMSTREAM_KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")
    assert Kafka().splits(uri(kafka, topic)) == []
