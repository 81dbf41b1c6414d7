"""What all sections of a config have in common."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic

Share = Annotated[float, pydantic.Field(ge=0.0, lt=1.0)]
Weight = Annotated[float, pydantic.Field(ge=0.0)]
Positive = Annotated[int, pydantic.Field(gt=0, lt=2**31)]
Text = Annotated[str, pydantic.Field(min_length=1)]


class Section(pydantic.BaseModel):
    """A section in which unknown keys are errors."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class Use(pydantic.BaseModel):
    """A component, named by `use`; every key that is not declared is a parameter of its constructor."""

    model_config = pydantic.ConfigDict(extra="allow", frozen=True, strict=True)
    use: Text

    @property
    def parameters(self) -> dict[str, Any]:
        """The component's own parameters."""
        return dict(self.model_extra or {})
