"""Open values of a config: candidates from which `mmstream tune` chooses.

    learning_rate: {between: [0.0001, 0.01], log: true}
    image: {any: [{use: cnn}, {use: resnet, blocks: {any: [1, 2]}}]}

A candidate may hold open values itself. The path of an open value is its place in the file, such as
"model.encoders.image.any[1].blocks".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mmstream.config.checks import Problem, problem_at
from mmstream.errors import choices
from mmstream.plugins.catalogue import flow
from mmstream.plugins.components import shown

ANY, BETWEEN, LOG = "any", "between", "log"
SECTIONS = ("model", "training")
"""The sections of a config in which values may be open: examples are made without these."""

Choice = int | float
"""What is chosen for an open value: the position of a candidate of `any`, or a number of `between`."""


@dataclasses.dataclass(frozen=True)
class OpenValue:
    """An open value.

    Attributes:
        path: its place in the file.
        candidates: the values of `any`, which may hold open values themselves; () for `between`.
        bounds: both ends of `between`, which are possible values; integers if only integers are.
        log: whether small values of `between` are as likely as large ones, on a logarithmic scale.
    """

    path: str
    candidates: tuple[Any, ...] = ()
    bounds: tuple[Choice, Choice] = (0, 0)
    log: bool = False

    @property
    def examples(self) -> Sequence[Choice]:
        """The choices to check: every candidate of `any`, both ends of `between`."""
        return range(len(self.candidates)) if self.candidates else self.bounds

    @property
    def all(self) -> Sequence[Choice] | None:
        """Every possible choice; None if there are as many as there are numbers."""
        if self.candidates:
            return range(len(self.candidates))
        low, high = self.bounds
        return range(low, high + 1) if isinstance(low, int) and isinstance(high, int) else None

    @property
    def labels(self) -> tuple[str, ...]:
        """The candidates of `any`, each as YAML on one line."""
        return tuple(map(flow, self.candidates))


@dataclasses.dataclass(frozen=True)
class Closed:
    """Data in which each open value has been replaced by a chosen one.

    Attributes:
        data: the data.
        places: the place in the file of each path in `data`.
        choices: what was chosen for each open value that the data depend on, by path, in the order of the file.
        open: these open values.
    """

    data: Any
    places: Mapping[str, str]
    choices: Mapping[str, Choice]
    open: tuple[OpenValue, ...]


def is_open(value: Any) -> bool:
    """Return whether a value of a config is open; a component or a part called `any` is not.

    >>> [is_open(value) for value in ({"any": [1, 2]}, {"any": {"use": "cnn"}}, {"use": "cnn", "any": 1})]
    [True, False, False]
    """
    if not isinstance(value, Mapping) or "use" in value:
        return False
    return any(key in value and not isinstance(value[key], Mapping) for key in (ANY, BETWEEN))


def close(data: Any, choose: Callable[[OpenValue], Choice], place: str = "") -> Closed:
    """Replace each open value by a chosen one.

    Args:
        data: the data of a config, or a part of them, in which `malformed` finds no problem.
        choose: called for each open value that the data depend on, in the order of the file.
        place: the place of the data in the file; "" for the whole config.
    """
    places: dict[str, str] = {}
    chosen: dict[str, Choice] = {}
    found: list[OpenValue] = []

    def closed(value: Any, path: str, place: str) -> Any:
        while is_open(value):
            one = _parsed(value, place)
            found.append(one)
            choice = chosen[place] = choose(one)
            if not one.candidates:
                value = choice
            else:
                value, place = one.candidates[int(choice)], f"{place}.{ANY}[{choice}]"
        places[path] = place
        if isinstance(value, Mapping):
            return {key: closed(each, _below(path, key), _below(place, key)) for key, each in value.items()}
        if isinstance(value, list):
            return [closed(each, f"{path}[{n}]", f"{place}[{n}]") for n, each in enumerate(value)]
        return value

    return Closed(closed(data, place, place), places, chosen, tuple(found))


def first(one: OpenValue) -> Choice:
    """Choose the first candidate, or the lower end."""
    return one.examples[0]


def variants(data: Any) -> Iterator[Closed]:
    """Close data in several ways, so that every candidate and both ends of every `between` occur at least once.

    The first choices come first. In every later way, one value differs, and the open values that its candidate lies in.
    """
    seen: set[tuple[str, Choice]] = set()
    todo: list[dict[str, Choice]] = [{}]
    while todo:
        given = todo.pop(0)
        closed = close(data, lambda one, given=given: given.get(one.path, first(one)))  # type: ignore[misc]
        yield closed
        for one in closed.open:
            for choice in one.examples[1:]:
                if (one.path, choice) not in seen:
                    seen.add((one.path, choice))
                    todo.append({**given, one.path: choice})


def combinations(data: Any, most: int) -> list[dict[str, Choice]] | None:
    """List every combination of choices; None if there are more than `most`."""
    found: list[dict[str, Choice]] = []
    todo: list[dict[str, Choice]] = [{}]
    while todo:
        given = todo.pop()
        closed = close(data, lambda one, given=given: given.get(one.path, first(one)))  # type: ignore[misc]
        undecided = next((one for one in closed.open if one.path not in given), None)
        if undecided is None:
            found.append(dict(closed.choices))
        elif undecided.all is None or len(undecided.all) > most:
            return None
        else:
            todo += [{**given, undecided.path: choice} for choice in reversed(undecided.all)]
        if len(found) + len(todo) > most:
            return None
    return found


def occurring(data: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every open value with its path, also those inside candidates."""
    if is_open(data):
        yield path, data
    inner: Iterator[tuple[str, Any]] = iter(())
    if isinstance(data, Mapping):
        inner = ((_below(path, key), value) for key, value in data.items())
    elif isinstance(data, list):
        inner = ((f"{path}[{number}]", value) for number, value in enumerate(data))
    for place, value in inner:
        yield from occurring(value, place)


def malformed(data: Any, lines: Mapping[str, int]) -> list[Problem]:
    """Find open values that are not written as they must be, or stand where no value can be open."""
    problems = []
    for path, value in occurring(data):
        if path.partition(".")[0] not in SECTIONS:
            message = (
                f"{shown(value)} is open, but only values in `model` and `training` can be: examples are made "
                "before a search begins"
            )
            problems.append(problem_at(lines, path, message))
        else:
            problems += [problem_at(lines, _below(path, key), message) for key, message in _wrong(value)]
    return problems


def _wrong(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Problems of an open value: pairs of (key in it, message)."""
    kind = ANY if ANY in value else BETWEEN
    keys = (ANY,) if kind == ANY else (BETWEEN, LOG)
    for key in value:
        if key not in keys:
            yield key, f"unknown key {key!r} beside `{kind}`. {choices(key, keys)}"
    inner = value[kind]
    if kind == ANY:
        if not isinstance(inner, list) or len(inner) < 2:
            yield kind, f"expected a list of at least two values; found {shown(inner)}"
            return
        labels = [flow(each) for each in inner]
        for number, label in enumerate(labels):
            if label in labels[:number]:
                yield f"{ANY}[{number}]", f"{shown(inner[number])} is given twice"
        return
    if not isinstance(value.get(LOG, False), bool):
        yield LOG, f"expected true or false; found {shown(value[LOG])}"
    numbers = isinstance(inner, list) and all(_is_number(each) for each in inner)
    if not numbers or len(inner) != 2 or inner[0] >= inner[1]:
        yield kind, f"expected two numbers, the smaller one first; found {shown(inner)}"
    elif value.get(LOG) is True and inner[0] <= 0:
        yield kind, f"expected numbers above 0 with `log: true`; found {shown(inner)}"


def _parsed(value: Mapping[str, Any], path: str) -> OpenValue:
    if ANY in value:
        return OpenValue(path, candidates=tuple(value[ANY]))
    low, high = value[BETWEEN]
    bounds = (low, high) if isinstance(low, int) and isinstance(high, int) else (float(low), float(high))
    return OpenValue(path, bounds=bounds, log=value.get(LOG, False))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
