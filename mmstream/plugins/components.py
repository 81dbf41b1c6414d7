"""Building the components that a config names, after checking their parameters against the constructor.

A constructor's parameters before `*` are passed by mmstream; those after it come from the config.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic

from mmstream.errors import MmstreamError, choices
from mmstream.plugins import registry

_EXPECTED = {
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
_RENAMED_OF_HEADS = {"forced": "autoregressive", "known": "target_mask", "draw": "sample"}
"""Names that heads declare if they were written for an earlier mmstream, and the current names."""


def check(kind: str, use: str, parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Find a component's problems in a config: pairs of (key below the component, message).

    Args:
        kind: the kind of the component, such as "encoder"; or "optimizer", for an optimizer of Keras.
        use: its name.
        parameters: its parameters in the config, without the keys that mmstream itself reads.
    """
    if kind == "optimizer":
        return _check_optimizer(use, parameters)
    try:
        cls = registry.find(kind, use)
    except MmstreamError as error:
        return [("use", str(error))]
    if kind == "head" and not hasattr(cls, "autoregressive"):
        old = ", ".join(f"`{name}` to `{new}`" for name, new in _RENAMED_OF_HEADS.items() if hasattr(cls, name))
        advice = (
            f"it was written for an earlier version of mmstream: rename its {old}"
            if hasattr(cls, "forced")
            else "declare it"
        )
        return [("use", f"the head {use!r} does not say whether it is `autoregressive`; {advice}")]
    accepted = configurable(cls)
    problems = _unknown(use, parameters, accepted)
    for key, value in parameters.items():
        try:
            if key in accepted:
                accepted[key].validate(value)
        except pydantic.ValidationError as error:
            problems += [(f"{key}{inner}", message) for inner, message in _failures(error)]
    for key, parameter in accepted.items():
        if parameter.required and key not in parameters:
            problems.append(("", f"{use!r} needs the parameter {key!r}"))
    if not problems and kind in ("source", "sink", "field", "objective"):
        try:
            build(kind, use, parameters)
        except Exception as error:  # noqa: BLE001 - a plugin's constructor may raise anything; it is shown
            problems.append(("", registry.summary(error, name=not isinstance(error, TypeError | ValueError))))
    return problems


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter that a config may give to a component."""

    annotation: Any
    default: Any
    required: bool

    def validate(self, value: Any) -> Any:
        """Return the value as the constructor expects it; nothing is converted, except a list if a tuple is expected.

        An annotation that pydantic cannot check accepts every value.

        Raises:
            pydantic.ValidationError: it does not match the annotation.
        """
        try:
            adapter = pydantic.TypeAdapter(self.annotation)
        except (pydantic.errors.PydanticUserError, NameError, TypeError):
            return value
        return adapter.validate_json(json.dumps(value), strict=True)


def configurable(cls: type) -> dict[str, Parameter]:
    """Return the parameters of a component that a config may give: those after `*` in the constructor."""
    constructor = inspect.getattr_static(cls, "__init__")
    signature = inspect.signature(constructor)
    try:
        hints = typing.get_type_hints(constructor, include_extras=True)
    except Exception:  # noqa: BLE001 - a plugin's annotations may use names that only a type checker imports
        hints = {}
    return {
        name: Parameter(hints.get(name, Any), parameter.default, parameter.default is inspect.Parameter.empty)
        for name, parameter in signature.parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def build(kind: str, use: str, parameters: Mapping[str, Any], *sizes: Any, **named: Any) -> Any:
    """Construct a component from the config's parameters and the arguments that mmstream passes."""
    cls = registry.find(kind, use)
    accepted = configurable(cls)
    return cls(*sizes, **named, **{key: accepted[key].validate(value) for key, value in parameters.items()})


def explain(errors: Sequence[Any]) -> str:
    """Write a message on one wrong value in a config, from pydantic's errors.

    Args:
        errors: items of `ValidationError.errors()`; several if the value may have several types.
    """
    first = errors[0]
    kinds = [error["type"] for error in errors]
    context = first.get("ctx", {})
    if kinds[0] == "missing":
        return "is missing"
    if kinds[0] == "value_error":
        return str(context["error"])
    if all(kind in _EXPECTED for kind in kinds):
        message = "expected " + " or ".join(dict.fromkeys(_EXPECTED[kind] for kind in kinds))
    elif kinds[0] in ("too_long", "too_short"):
        bound = "most" if kinds[0] == "too_long" else "least"
        message = f"expected at {bound} {context.get('max_length', context.get('min_length'))} values"
    elif kinds[0] == "string_too_short":
        message = "expected text that is not empty"
    else:
        message = first["msg"].replace("Input should be", "must be")
    return f"{message}; found {shown(first['input'])}"


def shown(value: Any) -> str:
    """Write a value as a config would give it, cut off if long.

    >>> shown({"a": [None, True, "b"]})
    '{"a": [null, true, "b"]}'
    """
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"


def _failures(error: pydantic.ValidationError) -> list[tuple[str, str]]:
    """List the problems of a parameter's value: pairs of (place within it, such as "[1]"; message)."""
    by_place: dict[str, list[Any]] = {}
    for one in error.errors():
        place = "".join(f"[{step}]" for step in one["loc"] if isinstance(step, int))
        by_place.setdefault(place, []).append(one)
    return [(place, explain(errors)) for place, errors in by_place.items()]


def _unknown(use: str, parameters: Mapping[str, Any], names: Mapping[str, Any]) -> list[tuple[str, str]]:
    wrong = [key for key in parameters if key not in names]
    return [(key, f"{use!r} takes no parameter {key!r}. {choices(key, names)}") for key in wrong]


def _check_optimizer(use: str, parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    import keras

    optimizers: dict[str, Any] = {}
    for name, cls in vars(keras.optimizers).items():
        if inspect.isclass(cls) and issubclass(cls, keras.optimizers.Optimizer):
            signature = inspect.signature(cls.__init__).parameters
            if "learning_rate" in signature:
                optimizers[name.lower()] = (cls, [key for key in signature if key not in ("self", "kwargs")])
    if use not in optimizers:
        return [("use", f"no optimizer is called {use!r}. {choices(use, optimizers)}")]
    cls, names = optimizers[use]
    problems = _unknown(use, parameters, dict.fromkeys(names))
    rate = parameters.get("learning_rate", 1.0)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0:
        problems.append(("learning_rate", f"expected a number above 0; found {shown(rate)}"))
    if problems:
        return problems
    try:
        cls(**parameters)
    except Exception as error:  # noqa: BLE001 - Keras checks its parameters in many ways
        return [("", registry.summary(error, name=not isinstance(error, TypeError | ValueError)))]
    return []
