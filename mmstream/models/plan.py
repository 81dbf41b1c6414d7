"""What a network is composed from: a config, the tensors of its fields, and what was fitted to them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from mmstream.config.schema import Config, EncoderConfig, HeadConfig
from mmstream.errors import MmstreamError
from mmstream.interfaces import Encoder, Field, Fitted, Head, Spec
from mmstream.plugins import components, registry


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that a network is composed from.

    Attributes:
        config: the config of the network.
        specs: {field: {tensor: shape and dtype}}.
        fitted: what was fitted to each field.
    """

    config: Config
    specs: Mapping[str, Spec]
    fitted: Mapping[str, Fitted]

    def field(self, name: str) -> Field:
        """A field."""
        field: Field = components.build("field", self.config.fields[name].use, self.config.fields[name].parameters)
        return field

    def encoder(self, name: str) -> FieldPart:
        """The encoder of a field."""
        return FieldPart("encoder", name, self.config.model.encoders[name], name, self.specs[name], self.fitted[name])

    def head(self, name: str) -> FieldPart:
        """A head of the config."""
        part = self.config.model.heads[name]
        return FieldPart("head", name, part, part.target, self.specs[part.target], self.fitted[part.target])


@dataclasses.dataclass(frozen=True)
class FieldPart:
    """An encoder or a head of the config, with the field that it reads or predicts.

    Attributes:
        kind: "encoder" or "head".
        name: its key in the config.
        config: its section of the config.
        field: the name of the field.
        spec: the spec of the field's tensors.
        fitted: what was fitted to the field.
    """

    kind: Literal["encoder", "head"]
    name: str
    config: EncoderConfig | HeadConfig
    field: str
    spec: Spec
    fitted: Fitted

    @property
    def sizes(self) -> dict[str, int]:
        """The arguments of its constructor that follow from the field."""
        component: type[Encoder | Head] = registry.find(self.kind, self.config.use)
        return component.sizes(self.spec, self.fitted)

    def build(self, **arguments: Any) -> Any:
        """Construct its layer.

        Args:
            arguments: what else the constructor needs, such as the shared width.
        """
        name = f"{self.kind}s_{self.name}"
        return components.build(
            self.kind, self.config.use, self.config.parameters, name=name, **arguments, **self.sizes
        )

    @contextlib.contextmanager
    def naming_errors(self) -> Iterator[None]:
        """Turn whatever the block raises into an error that names the part and the field.

        Raises:
            MmstreamError: the block raised something.
        """
        try:
            yield
        except MmstreamError:
            raise
        except Exception as error:
            does_not = f"{self.config.use!r} cannot {'read' if self.kind == 'encoder' else 'predict'} the field"
            tensors = ", ".join(
                f"{key} {kind}{list(shape)}" for key, (shape, kind) in self.spec.items() if key != "present"
            )
            reason = registry.summary(error, name=not isinstance(error, TypeError | ValueError))
            path = f"model.{self.kind}s.{self.name}"
            raise MmstreamError(f"{path}: {does_not} {self.field!r} ({tensors}): {reason}") from error
