"""Options of the connection: the user's, from the environment and a file, and those that mmstream sets itself.

Source: https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mmstream.errors import MmstreamError

PREFIX = "MMSTREAM_KAFKA_"
FILE = f"{PREFIX}CONFIG"
"""Environment variable that names a file of options."""
PATIENCE_SECONDS = 60
"""How long Kafka may be silent before that is an error."""

CONSUMER: Mapping[str, str | int | bool] = {
    "group.id": "mmstream",  # needed to make a consumer; no group is ever joined, and no offset committed
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
}
PRODUCER: Mapping[str, str | int | bool] = {"enable.idempotence": True, "acks": "all"}
_DEFAULTS: Mapping[str, str | int | bool] = {
    "queued.max.messages.kbytes": 16384,  # of each partition that is read
    "reconnect.backoff.max.ms": 2000,
}
_SET_HERE = {
    *("bootstrap.servers", "metadata.broker.list", "message.timeout.ms", "delivery.timeout.ms"),
    *("request.required.acks", "enable.auto.offset.store", "group.instance.id", "transactional.id"),
    *("debug", "logger", "default.topic.config", "allow.auto.create.topics"),
    *CONSUMER,
    *PRODUCER,
}
"""Options, and aliases of options, that users may not set; they include logging, as logs would hold secrets."""
_NAME = re.compile(r"[a-z0-9]+(\.[a-z0-9]+)*")


def options_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The user's options by name; environment variables take precedence over the file.

    Raises:
        MmstreamError: the file cannot be read, or an option may not be set; no value is ever shown.
    """
    options = _read_file(environment[FILE]) if environment.get(FILE) else {}
    for variable, value in environment.items():
        if variable.startswith(PREFIX) and variable != FILE:
            name = variable.removeprefix(PREFIX).lower().replace("_", ".")
            options[_checked(name, variable)] = value
    return options


def config(
    servers: str, own: Mapping[str, str | int | bool], options: Mapping[str, str]
) -> dict[str, str | int | bool]:
    """The configuration of a consumer or a producer, without callbacks.

    Args:
        servers: "host:port,host:port".
        own: CONSUMER or PRODUCER.
        options: the user's.
    """
    timeout = {"message.timeout.ms": PATIENCE_SECONDS * 1000} if own is PRODUCER else {}
    # Level 0: librdkafka writes nothing to standard error; what matters arrives by the callback.
    return {**_DEFAULTS, **options, **own, **timeout, "bootstrap.servers": servers, "log_level": 0}


def _read_file(path: str) -> dict[str, str]:
    """Options of a file in the properties form: `name=value`, `#` begins a comment line."""
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        problem = "it is not UTF-8"
    except OSError as error:
        problem = error.strerror or type(error).__name__
    else:
        return dict(_option(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if _says_something(line))
    raise MmstreamError(f"cannot read the file {path} named by {FILE}: {problem}")


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _option(line: str, where: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not equals:
        raise MmstreamError(f"{where}: expected name=value")
    return _checked(name.strip(), where), value.strip()


def _checked(name: str, where: str) -> str:
    if not _NAME.fullmatch(name):
        raise MmstreamError(f"{where}: this is not the name of an option; names look like sasl.password")
    if name in _SET_HERE:
        raise MmstreamError(f"{where}: mmstream sets the option {name} itself; remove it")
    return name
