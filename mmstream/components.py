"""Components as a config names them: their parameters, checked against the constructor, and how they are built.

A constructor's parameters before `*` are handed over by mmstream, those after it come from the config.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic

from mmstream import plugins
from mmstream.errors import MmstreamError, choices

_WANTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "keys and values",
    "float_type": "a number",
    "int_from_float": "an integer",
    "int_type": "an integer",
    "list_type": "a list",
    "model_type": "keys and values",
    "string_type": "text",
    "tuple_type": "a list",
}
_MAX_SHOWN = 80


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
    problems = _unknown(use, parameters, known)
    for key, value in parameters.items():
        try:
            if key in known:
                known[key].validate(value)
        except pydantic.ValidationError as error:
            problems += [(f"{key}{inner}", message) for inner, message in _failures(error)]
    for key, parameter in known.items():
        if parameter.required and key not in parameters:
            problems.append(("", f"{use!r} needs the parameter {key!r}"))
    if not problems and kind in ("source", "sink", "field", "objective"):
        try:
            build(kind, use, parameters)
        except Exception as error:  # noqa: BLE001 - a plugin's constructor may raise anything; it is shown
            problems.append(("", plugins.summary(error, name=not isinstance(error, TypeError | ValueError))))
    return problems


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter that a config may give to a component."""

    annotation: Any
    default: Any
    required: bool

    def validate(self, value: Any) -> Any:
        """The value as the constructor wants it: nothing is guessed, but a list becomes a tuple where one is asked for.

        An annotation that pydantic has no check for lets everything pass.

        Raises:
            pydantic.ValidationError: it is not what the annotation says.
        """
        try:
            adapter = pydantic.TypeAdapter(self.annotation)
        except (pydantic.errors.PydanticUserError, NameError, TypeError):
            return value
        return adapter.validate_json(json.dumps(value), strict=True)


def configurable(cls: type) -> dict[str, Parameter]:
    """What a config may say of a component: the constructor's parameters after `*`, with their types."""
    constructor = inspect.getattr_static(cls, "__init__")
    signature = inspect.signature(constructor)
    try:
        hints = typing.get_type_hints(constructor, include_extras=True)
    except Exception:  # noqa: BLE001 - it runs a plugin's annotations, as a name that only a type checker imports
        hints = {}
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


def explain(errors: Sequence[Any]) -> str:
    """What pydantic says of one value, in a config's words.

    Args:
        errors: of `ValidationError.errors()`: several where the value may be of several types.
    """
    first = errors[0]
    kinds = [error["type"] for error in errors]
    context = first.get("ctx", {})
    if kinds[0] == "missing":
        return "is missing"
    if kinds[0] == "value_error":
        return str(context["error"])
    if all(kind in _WANTED for kind in kinds):
        message = "expected " + " or ".join(dict.fromkeys(_WANTED[kind] for kind in kinds))
    elif kinds[0] in ("too_long", "too_short"):
        bound = "most" if kinds[0] == "too_long" else "least"
        message = f"expected at {bound} {context.get('max_length', context.get('min_length'))} values"
    elif kinds[0] == "string_too_short":
        message = "expected a text that is not empty"
    else:
        message = first["msg"].replace("Input should be", "must be")
    return f"{message}; found {shown(first['input'])}"


def shown(value: Any) -> str:
    """A value as it may stand in a config, cut where it is long.

    >>> shown({"a": [None, True, "b"]})
    '{"a": [null, true, "b"]}'
    """
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"


def _failures(error: pydantic.ValidationError) -> list[tuple[str, str]]:
    """What a parameter's value fails by: pairs of (place within it, as "[1]"; message)."""
    by_place: dict[str, list[Any]] = {}
    for one in error.errors():
        place = "".join(f"[{step}]" for step in one["loc"] if isinstance(step, int))
        by_place.setdefault(place, []).append(one)
    return [(place, explain(errors)) for place, errors in by_place.items()]


def _unknown(use: str, parameters: Mapping[str, Any], known: Mapping[str, Any]) -> list[tuple[str, str]]:
    wrong = [key for key in parameters if key not in known]
    return [(key, f"{use!r} takes no parameter {key!r}. {choices(key, known)}") for key in wrong]


def _check_optimizer(use: str, parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    import keras

    known: dict[str, Any] = {}
    for name, cls in vars(keras.optimizers).items():
        if inspect.isclass(cls) and issubclass(cls, keras.optimizers.Optimizer):
            signature = inspect.signature(cls.__init__).parameters
            if "learning_rate" in signature:
                known[name.lower()] = (cls, [key for key in signature if key not in ("self", "kwargs")])
    if use not in known:
        return [("use", f"no optimizer is called {use!r}. {choices(use, known)}")]
    cls, names = known[use]
    problems = _unknown(use, parameters, dict.fromkeys(names))
    rate = parameters.get("learning_rate", 1.0)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0:
        problems.append(("learning_rate", f"expected a number above 0; found {shown(rate)}"))
    if problems:
        return problems
    try:
        cls(**parameters)
    except Exception as error:  # noqa: BLE001 - Keras checks its parameters in many ways
        return [("", plugins.summary(error, name=not isinstance(error, TypeError | ValueError)))]
    return []
