"""Descriptions of components from their docstrings and signatures, for `mmstream plugins show` and the docs."""

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

from mmstream.errors import MmstreamError, choices
from mmstream.plugins import components, registry

_PLAIN = {bool: "true or false", int: "integer", float: "number", str: "text", type(None): "null", Any: "anything"}
_EXAMPLES = {bool: True, int: 16, float: 0.5, str: "text"}
_PLAIN_TEXT = re.compile(r"(?!(?:true|false|null)$)(?:[a-z_/]|\.\.?/)[\w./-]*", re.IGNORECASE)
"""Texts that need no quotes in YAML."""
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Source):", re.MULTILINE)
_PLACES: Mapping[str, str] = {
    "source": "source: {}",
    "field": "fields:\n  {name}: {}",
    "tokenizer": "fields:\n  a_field: {use: text, length: 32, tokens: {preset: {name}}}",
    "encoder": "model:\n  encoders:\n    a_field: {}",
    "fusion": "model:\n  fusion: {}",
    "head": "model:\n  heads:\n    a_field: {}",
    "objective": "model:\n  objectives:\n    {name}: {}",
}


@dataclasses.dataclass(frozen=True)
class ParameterEntry:
    """The description of a parameter.

    Attributes:
        name: its key in a config.
        type: the values that it takes, in words.
        default: its default, as a config would give it; None for a required parameter.
        text: its description in the docstring.
    """

    name: str
    type: str
    default: str | None
    text: str


@dataclasses.dataclass(frozen=True)
class Entry:
    """The description of a component.

    Attributes:
        kind: its kind, such as "encoder".
        name: its name in a config.
        distribution: the distribution that it comes from, with its version.
        reference: "module:Class".
        text: its docstring, without the sections at the end.
        source: where the method comes from; "" if nothing is cited.
        parameters: the parameters that a config may give.
        example: an example in YAML, as part of a config; "" for a sink, which is named by a flag.
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
    """Describe the components of a name, at most one of each kind.

    Raises:
        MmstreamError: there is none.
    """
    kinds = [kind for kind in registry.KINDS if name in registry.names(kind)]
    if not kinds:
        names = {each for kind in registry.KINDS for each in registry.names(kind)}
        raise MmstreamError(f"no component is called {name!r}. {choices(name, names)}")
    return [entry(kind, name) for kind in kinds]


def entry(kind: str, name: str) -> Entry:
    """Describe a component."""
    about, cls = registry.component(kind, name), registry.find(kind, name)
    text, sections = _divided(inspect.cleandoc(cls.__doc__ or ""))
    texts = _arguments(sections.get("Args", ""))
    configurable = components.configurable(cls)
    parameters = tuple(
        ParameterEntry(
            key,
            type_in_words(parameter.annotation),
            None if parameter.required else flow(parameter.default),
            texts.get(key, ""),
        )
        for key, parameter in configurable.items()
    )
    needed = {key: example_of(parameter.annotation) for key, parameter in configurable.items() if parameter.required}
    return Entry(
        kind=kind,
        name=name,
        distribution=f"{about.distribution} {about.version}",
        reference=about.reference,
        text=text,
        source=" ".join(sections.get("Source", "").split()),
        parameters=parameters,
        example=_example(kind, name, needed),
    )


def type_in_words(annotation: Any) -> str:
    """Put the type of a parameter into words.

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
    """Make an example value for a parameter."""
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
    """Write a value as YAML on one line.

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
    """Divide a docstring into its text and its sections, by name."""
    starts = [*_SECTION.finditer(docstring)]
    ends = [*(match.start() for match in starts), len(docstring)][1:]
    sections: dict[str, str] = {}
    text = docstring[: starts[0].start()] if starts else docstring
    for match, end in zip(starts, ends, strict=True):
        body = docstring[match.end() : end]
        if match[1] == "Source":  # one paragraph; more text may follow
            body, blank, rest = body.partition("\n\n")
            text += rest if blank else ""
        sections[match[1]] = body
    return text.strip(), sections


def _arguments(section: str) -> dict[str, str]:
    """Parse a docstring's section Args into {parameter: its description}."""
    lines_of: dict[str, list[str]] = {}
    for line in inspect.cleandoc(section).splitlines():
        match = re.match(r"(\w+): (.*)", line)
        if match:
            lines_of[match[1]] = [match[2]]
        elif lines_of:
            lines_of[next(reversed(lines_of))].append(line.strip())
    return {name: " ".join(lines) for name, lines in lines_of.items()}


def _example(kind: str, name: str, needed: Mapping[str, Any]) -> str:
    if kind not in _PLACES:
        return ""
    config = {"use": name, **({"path": "data"} if kind == "source" else {}), **needed}
    return _PLACES[kind].replace("{name}", name).replace("{}", flow(config))
