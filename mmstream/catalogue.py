"""What a component is, from its own docstring and signature: for `mmstream plugins show` and the documentation."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union

import annotated_types

from mmstream import components, plugins
from mmstream.errors import MmstreamError, choices

_PLAIN = {bool: "true or false", int: "integer", float: "number", str: "text", type(None): "null", Any: "anything"}
_EXAMPLES = {bool: True, int: 16, float: 0.5, str: "text"}
_PLAIN_TEXT = re.compile(r"(?!(?:true|false|null)$)(?:[a-z_/]|\.\.?/)[\w./-]*", re.IGNORECASE)
"""A text that YAML reads as it stands."""
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Source):", re.MULTILINE)
_PLACES: Mapping[str, str] = {
    "source": "source: {}",
    "field": "fields:\n  {name}: {}",
    "encoder": "model:\n  encoders:\n    a_field: {}",
    "fusion": "model:\n  fusion: {}",
    "head": "model:\n  heads:\n    a_field: {}",
    "objective": "model:\n  objectives:\n    {name}: {}",
}


@dataclasses.dataclass(frozen=True)
class ParameterEntry:
    """A parameter that a config may give.

    Attributes:
        name: its key.
        type: what it takes, in words.
        default: as it stands in a config; None for one that must be given.
        text: what the docstring says of it.
    """

    name: str
    type: str
    default: str | None
    text: str


@dataclasses.dataclass(frozen=True)
class Entry:
    """A component as people look it up.

    Attributes:
        kind: as "encoder".
        name: by which a config calls it.
        distribution: that brings it, with its version.
        reference: "module:Class".
        text: its docstring, without the sections below.
        source: where the method comes from, "" where nothing is cited.
        parameters: that a config may give.
        example: YAML, as it stands in a config; "" for a sink, which a flag names.
    """

    kind: str
    name: str
    distribution: str
    reference: str
    text: str
    source: str
    parameters: tuple[ParameterEntry, ...]
    example: str


def entries_of(name: str) -> list[Entry]:
    """The components of a name: several kinds may have one of it.

    Raises:
        MmstreamError: there is none.
    """
    kinds = [kind for kind in plugins.KINDS if name in plugins.names(kind)]
    if not kinds:
        known = {known for kind in plugins.KINDS for known in plugins.names(kind)}
        raise MmstreamError(f"no component is called {name!r}. {choices(name, known)}")
    return [entry(kind, name) for kind in kinds]


def entry(kind: str, name: str) -> Entry:
    """What a component says of itself."""
    about, cls = plugins.component(kind, name), plugins.find(kind, name)
    text, sections = _divided(inspect.cleandoc(cls.__doc__ or ""))
    said = _arguments(sections.get("Args", ""))
    known = components.configurable(cls)
    parameters = tuple(
        ParameterEntry(
            key,
            type_in_words(parameter.annotation),
            None if parameter.required else flow(parameter.default),
            said.get(key, ""),
        )
        for key, parameter in known.items()
    )
    needed = {key: example_of(parameter.annotation) for key, parameter in known.items() if parameter.required}
    return Entry(
        kind,
        name,
        f"{about.distribution} {about.version}",
        about.reference,
        text,
        " ".join(sections.get("Source", "").split()),
        parameters,
        _example(kind, name, needed),
    )


def type_in_words(annotation: Any) -> str:
    """What a parameter takes.

    >>> type_in_words(Annotated[int, annotated_types.Ge(1)] | None)
    'integer ≥ 1 or null'
    >>> type_in_words(tuple[Literal["a", "b"], ...])
    'list of (a | b)'
    """
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return " ".join([type_in_words(inner[0]), *(bound for one in inner[1:] for bound in _bounds(one))])
    if origin in (Union, types.UnionType):
        return " or ".join(type_in_words(one) for one in inner)
    if origin is Literal:
        return " | ".join(map(str, inner))
    if origin in (list, tuple, set, frozenset, Sequence):
        if origin is tuple and Ellipsis not in inner:
            return f"[{', '.join(type_in_words(one) for one in inner)}]"
        item = type_in_words(inner[0])
        return f"list of ({item})" if " " in item else f"list of {item}"
    if origin in (dict, Mapping):
        return f"{{{type_in_words(inner[0])}: {type_in_words(inner[1])}}}"
    return _PLAIN.get(annotation, getattr(annotation, "__name__", str(annotation)))


def example_of(annotation: Any) -> Any:
    """A value that a parameter might be given."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Annotated, Union, types.UnionType):
        return example_of(inner[0])
    if origin is Literal:
        return inner[0]
    if origin is tuple and Ellipsis not in inner:
        return [example_of(one) for one in inner]
    if origin in (list, tuple, set, frozenset, Sequence):
        return [f"{example_of(inner[0])}_{n}" if inner[0] is str else example_of(inner[0]) for n in (1, 2)]
    return _EXAMPLES.get(annotation, "…")


def flow(value: Any) -> str:
    """A value as YAML on one line.

    >>> flow({"use": "csv", "path": "../data.csv", "missing": ["NA", "1"]})
    '{use: csv, path: ../data.csv, missing: [NA, "1"]}'
    """
    if isinstance(value, str):
        return value if _PLAIN_TEXT.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def _bounds(bound: Any) -> list[str]:
    if isinstance(bound, annotated_types.Interval):
        return [words for one in bound for words in _bounds(one)]
    for kind, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if isinstance(bound, getattr(annotated_types, kind.capitalize())):
            return [f"{sign} {getattr(bound, kind)}"]
    return []


def _divided(docstring: str) -> tuple[str, dict[str, str]]:
    """A docstring's own text, and its sections by name."""
    starts = [*_SECTION.finditer(docstring)]
    ends = [*(match.start() for match in starts), len(docstring)][1:]
    sections: dict[str, str] = {}
    text = docstring[: starts[0].start()] if starts else docstring
    for match, end in zip(starts, ends, strict=True):
        body = docstring[match.end() : end]
        if match[1] == "Source":  # one paragraph, which text may follow
            body, blank, rest = body.partition("\n\n")
            text += rest if blank else ""
        sections[match[1]] = body
    return text.strip(), sections


def _arguments(section: str) -> dict[str, str]:
    """{parameter: what is said of it}."""
    found: dict[str, list[str]] = {}
    for line in inspect.cleandoc(section).splitlines():
        match = re.match(r"(\w+): (.*)", line)
        if match:
            found[match[1]] = [match[2]]
        elif found:
            found[next(reversed(found))].append(line.strip())
    return {name: " ".join(lines) for name, lines in found.items()}


def _example(kind: str, name: str, needed: Mapping[str, Any]) -> str:
    if kind not in _PLACES:
        return ""
    given = {"use": name, **({"path": "data"} if kind == "source" else {}), **needed}
    return _PLACES[kind].replace("{name}", name).replace("{}", flow(given))
