"""YAML 1.2 as plain dicts, lists and scalars, with the line of every value."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from mmstream.errors import describe

_TAG = "tag:yaml.org,2002:"
_TEXTS = ("str", "timestamp", "value", "merge")
_PARSED = ("null", "bool", "int", "float")
_MAX_DEPTH = 32
_MAX_VALUES = 20_000


class InvalidYamlError(ValueError):
    """A text that cannot be read as YAML at all; `line` is 0 if none is known."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


@dataclasses.dataclass
class Document:
    """A YAML text as data.

    Attributes:
        data: dicts with text keys, lists, texts, numbers, booleans and None.
        lines: the line of every value, counted from 1, by its path, such as "fields.image.size[1]".
        problems: (line, path, message) of what was left out of the data, such as a key that is given twice.
    """

    data: Any = None
    lines: dict[str, int] = dataclasses.field(default_factory=dict)
    problems: list[tuple[int, str, str]] = dataclasses.field(default_factory=list)


def read_yaml(text: str) -> Document:
    """Read one YAML document.

    Anchors and merge keys are resolved; tags, infinite numbers and keys that are not plain text are problems.

    Raises:
        InvalidYamlError: it is not YAML, or is nested too deeply or too large for a config.
    """
    reader = _Reader()
    try:
        root = reader.yaml.compose(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        message = error.problem or describe(error)
        if message.startswith("but "):
            message = f"{error.context}, {message}"
        elif error.context and error.context_mark:
            message += f" {error.context} that starts on line {error.context_mark.line + 1}"
        raise InvalidYamlError(message, line) from error
    except YAMLError as error:
        raise InvalidYamlError(describe(error).splitlines()[0]) from error
    except RecursionError as error:
        raise InvalidYamlError(f"nested deeper than {_MAX_DEPTH} levels") from error
    if root is not None:
        reader.document.data = reader.value(root, "", 0)
    return reader.document


class _Reader:
    """Turns YAML nodes into data. An alias counts as the node that it names, so the limits hold for aliases, too."""

    def __init__(self) -> None:
        self.yaml = YAML(typ="safe", pure=True)
        self.document = Document()
        self.count = 0

    def value(self, node: Node, path: str, depth: int) -> Any:
        self.count += 1
        if depth > _MAX_DEPTH:
            raise InvalidYamlError(f"nested deeper than {_MAX_DEPTH} levels", _line(node))
        if self.count > _MAX_VALUES:
            raise InvalidYamlError(f"more than {_MAX_VALUES:,} values, including those of aliases", _line(node))
        kind = str(node.tag).removeprefix(_TAG)
        if isinstance(node, ScalarNode):
            return self._scalar(node, kind, path)
        if kind not in ("map", "seq"):
            self._refuse_tag(node, path)
        if isinstance(node, MappingNode):
            return self._mapping(node, path, depth)
        items = []
        for number, item in enumerate(node.value):
            where = f"{path}[{number}]"
            self.document.lines[where] = _line(item)
            items.append(self.value(item, where, depth + 1))
        return items

    def _scalar(self, node: ScalarNode, kind: str, path: str) -> Any:
        if kind in _PARSED:
            try:
                value = getattr(self.yaml.constructor, f"construct_yaml_{kind}")(node)
            except (ValueError, KeyError):
                self._problem(node, path, f"{node.value[:40]!r} cannot be read as {kind}")
                return None
            if isinstance(value, float) and not math.isfinite(value):
                self._problem(node, path, f"{node.value} is not a finite number")
                return 0.0
            return value
        if kind not in _TEXTS:
            self._refuse_tag(node, path)
        return self._text(node, path)

    def _mapping(self, node: MappingNode, path: str, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            if str(key_node.tag) == f"{_TAG}merge":
                merged = {**self._merged(value_node, path, depth), **merged}
                continue
            if not isinstance(key_node, ScalarNode):
                self._problem(key_node, path, "a key must be plain text")
                continue
            key = self._text(key_node, path)
            where = f"{path}.{key}" if path else key
            if key in values:
                self._problem(key_node, where, f"is given twice; first on line {first[key]}")
                continue
            first[key] = self.document.lines[where] = _line(key_node)
            values[key] = self.value(value_node, where, depth + 1)
        return {**merged, **values}

    def _merged(self, node: Node, path: str, depth: int) -> dict[str, Any]:
        """The keys of a merge (`<<`); if several mappings have a key, the first wins."""
        merged: dict[str, Any] = {}
        for source in [node] if isinstance(node, MappingNode) else node.value:
            if not isinstance(source, MappingNode):
                self._problem(
                    node, f"{path}.<<" if path else "<<", "expected an alias for keys and values, such as *name"
                )
                break
            lines = dict(self.document.lines)
            merged = {**self.value(source, path, depth + 1), **merged}
            self.document.lines = {**self.document.lines, **lines}
        return merged

    def _text(self, node: ScalarNode, path: str) -> str:
        text: str = node.value
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            self._problem(node, path, "holds half a surrogate pair, which is not a character")
            return text.encode("utf-8", "replace").decode()
        return text

    def _refuse_tag(self, node: Node, path: str) -> None:
        self._problem(node, path, f"the tag {str(node.tag).replace(_TAG, '!!')} has no meaning here; remove it")

    def _problem(self, node: Node, path: str, message: str) -> None:
        self.document.problems.append((_line(node), path, message))


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
