"""Components as a config names them: their parameters, checked against the constructor, and how they are built.

A constructor's parameters before `*` are handed over by mmstream, those after it come from the config.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Mapping
from typing import Any

import pydantic

from mmstream import plugins
from mmstream.errors import MmstreamError, choices, describe


def check(kind: str, use: str, parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with naming a component so: pairs of (key below the component, message); none where all is well.

    Args:
        kind: of the component, as "encoder"; or "optimizer", which are those of Keras.
        use: its name.
        parameters: what the config gives it beside the keys that mmstream itself reads.
    """
    if kind == "optimizer":
        return _check_optimizer(use, parameters)
    try:
        cls = plugins.find(kind, use)
    except MmstreamError as error:
        return [("use", str(error))]
    known = configurable(cls)
    problems = []
    for key, value in parameters.items():
        if key not in known:
            problems.append((key, f"{use!r} takes no parameter {key!r}. {choices(key, known)}"))
            continue
        try:
            known[key].validate(value)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            inner = "".join(f"[{part}]" for part in first["loc"])
            problems.append((key + inner, f"{first['msg']}; found {first['input']!r}"))
    for key, parameter in known.items():
        if parameter.required and key not in parameters:
            problems.append(("", f"{use!r} needs the parameter {key!r}"))
    if not problems and kind in ("source", "field"):
        try:
            build(kind, use, parameters)
        except (TypeError, ValueError) as error:
            problems.append(("", describe(error)))
    return problems


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter that a config may give to a component."""

    annotation: Any
    default: Any
    required: bool

    def validate(self, value: Any) -> Any:
        """The value as the constructor wants it (a list becomes a tuple where one is asked for)."""
        return pydantic.TypeAdapter(self.annotation).validate_python(value)


def configurable(cls: type) -> dict[str, Parameter]:
    """What a config may say of a component: the constructor's parameters after `*`, with their types."""
    constructor = inspect.getattr_static(cls, "__init__")
    signature = inspect.signature(constructor)
    hints = typing.get_type_hints(constructor, include_extras=True)
    return {
        name: Parameter(hints.get(name, Any), parameter.default, parameter.default is inspect.Parameter.empty)
        for name, parameter in signature.parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def build(kind: str, use: str, parameters: Mapping[str, Any], *sizes: Any, **named: Any) -> Any:
    """Construct a component from what the config says and what mmstream hands over."""
    cls = plugins.find(kind, use)
    known = configurable(cls)
    return cls(*sizes, **named, **{key: known[key].validate(value) for key, value in parameters.items()})


def _check_optimizer(use: str, parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    import keras

    known = {
        name.lower(): cls
        for name, cls in vars(keras.optimizers).items()
        if inspect.isclass(cls)
        and issubclass(cls, keras.optimizers.Optimizer)
        and cls is not keras.optimizers.Optimizer
    }
    if use not in known:
        return [("use", f"no optimizer is called {use!r}. {choices(use, known)}")]
    try:
        known[use](**parameters)
    except (TypeError, ValueError) as error:
        return [("", describe(error))]
    return []
