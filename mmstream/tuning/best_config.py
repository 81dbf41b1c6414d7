"""The config of the best trial, as a file: the user's own text with the chosen values in it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from mmstream.config.loading import TINY, override
from mmstream.config.open_values import Closed, is_open
from mmstream.config.schema import Config
from mmstream.config.yaml_lines import InvalidYamlError, read_yaml
from mmstream.errors import MmstreamError
from mmstream.storage import files

_WIDTH = 120


def best_config(path: str, overrides: list[str], closed: Closed, config: Config, *, tiny: bool, about: str) -> str:
    """Write a config without open values as YAML.

    Comments of the file are kept where that is possible: not in a candidate that was chosen, and not in a file in which
    an anchor is used for two values that now differ, or that has changed since it was read.

    Args:
        path: the config file with open values.
        overrides: what `--set` has set.
        closed: the data with the chosen values.
        config: the config that they make; its paths are absolute.
        tiny: whether `--tiny` was given.
        about: a line for the top of the file.
    """
    data = closed.data
    source = {**data["source"], "path": config.source.path}
    if "roots" in source:
        source["roots"] = config.source.roots
    expected = {**data, "source": source}
    text = _with_comments(path, overrides, expected, tiny=tiny)
    return f"# {about}\n{config.to_yaml() if text is None else text}"


def _with_comments(path: str, overrides: list[str], expected: Mapping[str, Any], *, tiny: bool) -> str | None:
    """The file with the expected data in it; None if it cannot be given them."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    out = io.StringIO()
    try:
        data = yaml.load(files.read_bytes(path).decode("utf-8-sig"))
        for key, value in TINY.items() if tiny else ():
            override(data, {}, key, value)
        for text in overrides:
            key, _, value = text.partition("=")
            override(data, {}, key.strip(), read_yaml(value).data)
        _fill_in(data, expected)
        yaml.dump(data, out)
        written = read_yaml(out.getvalue())
    except (YAMLError, InvalidYamlError, ValueError, MmstreamError, OSError):
        return None
    return out.getvalue() if written.data == expected and not written.problems else None


def _fill_in(data: Any, expected: Any) -> None:
    """Replace each value in a mapping or list that is not as expected, keeping the comments around the others."""
    places: Any = expected.items() if isinstance(expected, Mapping) else enumerate(expected)
    for key, value in places:
        now = data[key]
        if is_open(now) or not isinstance(value, Mapping | list):
            if now != value or type(now) is bool:
                data[key] = _in_flow_style(value)
        else:
            _fill_in(now, value)


def _in_flow_style(value: Any) -> Any:
    made: Any
    if isinstance(value, Mapping):
        made = CommentedMap({key: _in_flow_style(each) for key, each in value.items()})
    elif isinstance(value, list):
        made = CommentedSeq([_in_flow_style(each) for each in value])
    else:
        return value
    made.fa.set_flow_style()
    return made
