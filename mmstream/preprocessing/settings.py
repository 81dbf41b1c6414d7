"""The settings of fields that decide their tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmstream.config.schema import FieldConfig
from mmstream.interfaces import Field
from mmstream.plugins import components, registry


def settings_of(fields: Mapping[str, FieldConfig]) -> dict[str, dict[str, Any]]:
    """The settings of each field that decide how it is preprocessed: all but those that only training reads.

    Parameters that older versions lacked are included even at their defaults, so that older examples differ.
    """
    settings = {}
    for name, field in sorted(fields.items()):
        component: type[Field] = registry.find("field", field.use)
        parameters = components.configurable(component)
        newer = {parameter: parameters[parameter].default for parameter in component.parameters_before}
        settings[name] = {**newer, **field.model_dump(mode="json", exclude=set(component.training_only))}
    return settings


def fields_before(fields: Mapping[str, FieldConfig]) -> dict[str, FieldConfig]:
    """The fields of an older version's config; parameters that it lacked get the values that reproduce what it did."""
    before = {}
    for name, field in fields.items():
        component: type[Field] = registry.find("field", field.use)
        before[name] = FieldConfig.model_validate(
            {**component.parameters_before, **field.model_dump(exclude_defaults=True)}
        )
    return before
