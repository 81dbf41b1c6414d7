"""The contract that holds for components of all kinds."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Mapping
from typing import Any, ClassVar

from mmstream.plugins import components, registry
from mmstream.testing import fresh


class ComponentContract:
    """The part of a contract that all kinds share.

    Attributes:
        kind: set by the contract of the kind.
        name: the name of the component, as in a config.
        parameters: as in a config; choose values other than the defaults, so that the tests notice if one gets lost.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    parameters: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def component(cls) -> Any:
        """The class that is registered under this name."""
        return registry.find(cls.kind, cls.name)

    @classmethod
    def build(cls, *sizes: Any, **named: Any) -> Any:
        """The component, as mmstream builds it."""
        return components.build(cls.kind, cls.name, cls.parameters, *sizes, **named)

    def test_is_found_through_its_entry_point(self) -> None:
        entry, component = registry.component(self.kind, self.name), self.component()
        assert entry.reference == f"{component.__module__}:{component.__qualname__}"
        assert component.__module__.split(".")[0] == entry.distribution.replace("-", "_")

    def test_every_parameter_of_its_constructor_is_annotated(self) -> None:
        constructor = inspect.getattr_static(self.component(), "__init__")
        hints = typing.get_type_hints(constructor) if inspect.isfunction(constructor) else {}
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        named = [p.name for p in inspect.signature(constructor).parameters.values() if p.kind not in variadic]
        assert [name for name in named if name != "self" and name not in hints] == []

    def test_a_config_may_name_its_parameters_and_no_others(self) -> None:
        assert components.check(self.kind, self.name, self.parameters) == []
        assert components.check(self.kind, self.name, {**self.parameters, "no_such_parameter": 1}) != []

    def test_its_parameters_can_stand_in_a_config(self) -> None:
        assert json.loads(json.dumps(self.parameters)) == self.parameters


class LightContract(ComponentContract):
    """The contract that fields, sources and sinks share: they do not import TensorFlow, which many jobs do not need."""

    def test_it_is_built_without_tensorflow(self) -> None:
        imported = fresh.run_python(
            "import sys; from mmstream.plugins.components import build; build(*given); result = sorted(sys.modules)",
            (self.kind, self.name, dict(self.parameters)),
        )
        assert not {"tensorflow", "tensorflow_transform", "apache_beam"} & set(imported)
