"""Options come from the environment and a file, and no error shows a value."""

from __future__ import annotations

import pytest
from mmstream_kafka.options import CONSUMER, PRODUCER, config, options_of

from mmstream.errors import MmstreamError

SECRET = "the secret: 秘密"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "kafka.properties"


def test_variables_are_options_with_dots():
    environment = {"MMSTREAM_KAFKA_SASL_PASSWORD": SECRET, "MMSTREAM_KAFKA_SSL_CA_LOCATION": "/ca.pem", "HOME": "/"}
    assert options_of(environment) == {"sasl.password": SECRET, "ssl.ca.location": "/ca.pem"}


def test_a_file_has_a_name_and_a_value_in_each_line(file):
    file.write_text(f"# comment\n\n  # another\nsasl.password = {SECRET} = x\nssl.ca.location=/ca.pem\n", "utf-8")
    wanted = {"sasl.password": f"{SECRET} = x", "ssl.ca.location": "/ca.pem"}
    assert options_of({"MMSTREAM_KAFKA_CONFIG": str(file)}) == wanted


def test_a_variable_comes_before_the_file(file):
    file.write_text("sasl.password=old\nsasl.username=me\n")
    environment = {"MMSTREAM_KAFKA_SASL_PASSWORD": SECRET, "MMSTREAM_KAFKA_CONFIG": str(file)}
    assert options_of(environment) == {"sasl.password": SECRET, "sasl.username": "me"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (SECRET, "kafka.properties:2: expected name=value"),
        (f"{SECRET}=x", "kafka.properties:2: this is not the name of an option"),
        (f"error_cb={SECRET}", "kafka.properties:2: this is not the name of an option"),
        (f"group.id={SECRET}", "kafka.properties:2: mmstream sets the option group.id itself"),
        (f"bootstrap.servers={SECRET}", "the option bootstrap.servers"),
        (f"enable.idempotence={SECRET}", "the option enable.idempotence"),
        (f"debug={SECRET}", "the option debug"),
    ],
)
def test_a_line_that_is_wrong_is_named_and_not_shown(file, line, said):
    file.write_text(f"# first\n{line}\n", "utf-8")
    with pytest.raises(MmstreamError, match=said) as raised:
        options_of({"MMSTREAM_KAFKA_CONFIG": str(file)})
    assert SECRET not in str(raised.value)


def test_a_variable_that_is_wrong_is_named_and_not_shown():
    with pytest.raises(MmstreamError, match=r"MMSTREAM_KAFKA_GROUP_ID: .*group\.id") as raised:
        options_of({"MMSTREAM_KAFKA_GROUP_ID": SECRET})
    assert SECRET not in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(file, tmp_path):
    file.write_bytes(b"\xff")
    for path, why in ((file, "not UTF-8"), (tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(MmstreamError, match=why) as raised:
            options_of({"MMSTREAM_KAFKA_CONFIG": str(path)})
        assert str(path) in str(raised.value)
        assert raised.value.__context__ is None


@pytest.mark.parametrize("own", [CONSUMER, PRODUCER])
def test_what_mmstream_sets_stands_above_the_users_options(own):
    settings = config("host:1", own, {"client.id": "mine", **dict.fromkeys(own, "theirs")})
    assert settings["client.id"] == "mine"
    assert settings["bootstrap.servers"] == "host:1"
    assert {name: settings[name] for name in own} == own
    assert ("message.timeout.ms" in settings) == (own is PRODUCER)
