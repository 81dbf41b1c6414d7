"""URIs, and errors without secrets."""

from __future__ import annotations

import traceback

import pytest
from confluent_kafka import KafkaError
from mmstream_kafka.connection import Address, Connection, address_of

from mmstream.errors import MmstreamError

URI = "kafka://127.0.0.1:1/pictures"
SECRET = "hunter2-and-a-long-rest"


def test_a_uri_names_servers_and_a_topic():
    assert address_of("kafka://host/a.b_c-1") == Address("host", "a.b_c-1")
    assert address_of("kafka://one:9092,[::1]:9093/t") == Address("one:9092,[::1]:9093", "t")


@pytest.mark.parametrize(
    "uri",
    [
        *(
            "kafka://host",
            "kafka://host/",
            "kafka:///topic",
            "kafka://host/a/b",
            "kafka://host/图片",
            "http://host/topic",
        ),
        *("kafka://host/topic/", "kafka:host/topic", f"kafka://host/{'t' * 250}", "kafka://host/a topic", ""),
    ],
)
def test_what_is_no_uri_of_a_topic_is_refused(uri):
    with pytest.raises(MmstreamError, match="expected kafka://host1:9092,host2:9092/topic") as raised:
        address_of(uri)
    assert repr(uri) in str(raised.value)


@pytest.mark.parametrize(
    "uri",
    [
        *(f"kafka://me:{SECRET}@host:9092/topic", f"kafka://{SECRET}@host/topic", f"kafka://me:{SECRET}/x@host/topic"),
        *(f"kafka://host/topic?sasl.password={SECRET}", f"kafka://host/topic#{SECRET}"),
    ],
)
def test_a_password_in_a_uri_is_refused_and_not_shown(uri):
    with pytest.raises(MmstreamError) as raised:
        address_of(uri)
    assert SECRET not in str(raised.value)
    assert ("MMSTREAM_KAFKA_SASL_PASSWORD" in str(raised.value)) == ("@" in uri)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MMSTREAM_KAFKA_NO_SUCH_OPTION", SECRET, "refuses the option no.such.option: .*CONFIGURATION.md"),
        ("MMSTREAM_KAFKA_SECURITY_PROTOCOL", SECRET, "refuses the option security.protocol"),
        ("MMSTREAM_KAFKA_SECURITY_PROTOCOL", f"{SECRET * 30}", "refuses the option security.protocol"),
        ("MMSTREAM_KAFKA_SESSION_TIMEOUT_MS", SECRET, "refuses the option session.timeout.ms"),
        ("MMSTREAM_KAFKA_PLUGIN_LIBRARY_PATHS", SECRET, "refuses the option plugin.library.paths"),
    ],
)
@pytest.mark.parametrize("client", ["consumer", "producer"])
def test_an_option_that_librdkafka_refuses_is_named_and_its_value_not_shown(monkeypatch, variable, value, said, client):
    monkeypatch.setenv(variable, value)
    connection = Connection(URI)
    with pytest.raises(MmstreamError, match=said) as raised:
        getattr(connection, client)()
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    assert raised.value.__context__ is None


def test_an_error_that_holds_a_value_is_told_without_details(monkeypatch):
    monkeypatch.setenv("MMSTREAM_KAFKA_SASL_PASSWORD", SECRET)
    monkeypatch.setenv("MMSTREAM_KAFKA_SASL_USERNAME", "")
    connection = Connection(URI)
    for text in (f"no {SECRET} here", f"cut: {SECRET[:16]}"):
        assert connection.explain(KafkaError(KafkaError._AUTHENTICATION, text)) == "Local: Authentication failure"
    assert connection.explain(KafkaError(KafkaError._SSL, "bad\n certificate")) == "bad certificate"


@pytest.mark.parametrize(("value", "shown"), [("SSL", True), ("ssl_of_mine", False)])
def test_the_words_of_the_documentation_are_no_secrets(monkeypatch, value, shown):
    monkeypatch.setenv("MMSTREAM_KAFKA_SECURITY_PROTOCOL", value)
    monkeypatch.setenv("MMSTREAM_KAFKA_SASL_PASSWORD", "plain")
    connection = Connection(URI)
    assert (connection.explain(KafkaError(KafkaError._SSL, f"{value} failed")) == f"{value} failed") == shown
    assert "plain" not in connection.explain(KafkaError(KafkaError._SSL, "a plain password"))


def test_errors_of_authentication_and_fatal_ones_are_raised_and_others_are_not():
    connection = Connection(URI)
    for code in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._SSL):
        connection.note(KafkaError(code, "passes"))
    connection.check()
    for error in (KafkaError(KafkaError._AUTHENTICATION, "refused"), KafkaError(KafkaError._FATAL, "over", fatal=True)):
        connection = Connection(URI)
        connection.note(error)
        with pytest.raises(MmstreamError, match=r"127\.0\.0\.1:1 failed: (refused|over)"):
            connection.check()
