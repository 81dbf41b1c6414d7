"""Which format labels are written in, and with which options: --sink and --sink-option."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from mmstream import components, plugins
from mmstream.errors import MmstreamError, UsageError
from mmstream.yaml_lines import InvalidYamlError, read_yaml


def sink_options(flags: argparse.Namespace) -> dict[str, Any]:
    """What --sink-option says of the sink's parameters, by name; the values are YAML.

    Raises:
        UsageError: the sink takes none of that name, or not this value.
        MmstreamError: there is no such sink.
    """
    plugins.find("sink", flags.sink)
    options: dict[str, Any] = {}
    for text in flags.sink_option:
        name, separator, value = text.partition("=")
        try:
            document = read_yaml(value)
        except InvalidYamlError as error:
            raise UsageError(f"--sink-option {text}: not valid YAML: {error}") from error
        if not (name and separator) or name in options or document.problems:
            raise UsageError(f"--sink-option {text}: expected NAME=VALUE, as formulas=escape, each name once")
        options[name] = document.data
    for place, message in components.check("sink", flags.sink, options):
        raise UsageError(f"--sink-option {place}: {message}" if place else f"--sink {flags.sink}: {message}")
    return options


def check_sink(before: Mapping[str, Any], sink: str, options: Mapping[str, Any], output: str) -> None:
    """An output holds labels of one format, written with the same options.

    Args:
        before: its job.json; {} where it is new.
        sink: name of the sink component.
        options: its parameters.
        output: its directory.

    Raises:
        MmstreamError: it holds those of another.
    """
    if before.get("sink", sink) != sink:
        raise MmstreamError(f"{output} holds labels of another format (--sink {before['sink']}); name another --output")
    if before and (written := before.get("sink_options", {})) != options:
        given = " ".join(f"--sink-option {name}={json.dumps(value)}" for name, value in sorted(written.items()))
        raise MmstreamError(
            f"{output} holds labels that were written with {given or 'no --sink-option'}; say so again, or name "
            "another --output"
        )
