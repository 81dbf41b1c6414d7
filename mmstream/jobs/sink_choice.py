"""The format that labels are written in, and its options: --sink and --sink-option."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mmstream.config.yaml_lines import InvalidYamlError, read_yaml
from mmstream.errors import MmstreamError, UsageError
from mmstream.interfaces import Sink
from mmstream.plugins import components, registry


def parse_sink_options(sink: str, texts: Iterable[str]) -> dict[str, Any]:
    """A sink's parameters by name, from texts such as "formulas=escape"; the values are YAML.

    Raises:
        UsageError: the sink has no such parameter, or refuses this value.
        MmstreamError: there is no such sink.
    """
    registry.find("sink", sink)
    options: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        try:
            document = read_yaml(value)
        except InvalidYamlError as error:
            raise UsageError(f"--sink-option {text}: not valid YAML: {error}") from error
        if not (name and separator) or name in options or document.problems:
            raise UsageError(f"--sink-option {text}: expected NAME=VALUE, such as formulas=escape, each name only once")
        options[name] = document.data
    return options


def build_sink(sink: str, options: Mapping[str, Any]) -> Sink:
    """The sink component, with these parameters.

    Raises:
        UsageError: the sink has no such parameter, or refuses this value.
        MmstreamError: there is no such sink.
    """
    for place, message in components.check("sink", sink, options):
        raise UsageError(f"--sink-option {place}: {message}" if place else f"--sink {sink}: {message}")
    built: Sink = components.build("sink", sink, options)
    return built


def check_sink(before: Mapping[str, Any], sink: str, options: Mapping[str, Any], output: str) -> None:
    """Check that an output holds labels of this format only, written with the same options.

    Args:
        before: its job.json; {} if it is new.
        sink: name of the sink component.
        options: its parameters.
        output: its directory.

    Raises:
        MmstreamError: it holds labels of another format, or written with other options.
    """
    if before.get("sink", sink) != sink:
        raise MmstreamError(f"{output} holds labels in another format (--sink {before['sink']}); name another --output")
    if before and (written := before.get("sink_options", {})) != options:
        flags = " ".join(f"--sink-option {name}={json.dumps(value)}" for name, value in sorted(written.items()))
        raise MmstreamError(
            f"{output} holds labels that were written with {flags or 'no --sink-option'}; give the same "
            "options again, or name another --output"
        )
