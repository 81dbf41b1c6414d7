"""The source and the publisher keep their contracts; tests/cluster/ has those that need a broker."""

from __future__ import annotations

import pytest
from mmstream_kafka import connection

from mmstream.testing import PublisherContract, StreamContract

NOBODY = "kafka://127.0.0.1:1/pictures"


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch):
    monkeypatch.setattr(connection, "_START_SECONDS", 1)


class TestKafka(StreamContract):
    name = "kafka"
    parameters = {"key_column": "name"}
    unreachable = NOBODY


class TestKafkaPublisher(PublisherContract):
    name = "kafka"
    unreachable = NOBODY
