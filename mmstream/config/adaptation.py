"""How parts whose weights come from elsewhere are trained: frozen, slowly, or by small additions."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
from pydantic_core import PydanticCustomError

from mmstream.config.sections import Positive, Section, Text


class FreezeConfig(Section):
    """The epochs in which the weights of a part do not change.

    Attributes:
        until_epoch: the last of them, counted from 1; 0 if they change from the start, None if they never change.
    """

    until_epoch: Annotated[int, pydantic.Field(ge=0, lt=2**31)] | None

    @property
    def forever(self) -> bool:
        """Whether the weights never change."""
        return self.until_epoch is None

    def frozen_in(self, epoch: int) -> bool:
        """Whether the weights stay as they are in an epoch; epochs are counted from 1.

        >>> [FreezeConfig(until_epoch=2).frozen_in(epoch) for epoch in (1, 2, 3)]
        [True, True, False]
        """
        return self.until_epoch is None or epoch <= self.until_epoch


FOREVER = FreezeConfig(until_epoch=None)
NEVER = FreezeConfig(until_epoch=0)


def _epochs(value: Any) -> Any:
    if isinstance(value, bool):
        return FOREVER if value else NEVER
    if not isinstance(value, dict | FreezeConfig):
        raise PydanticCustomError(
            "freeze", "expected true, false, or {until_epoch: N}; found {value}", {"value": value}
        )
    return value


Freeze = Annotated[FreezeConfig, pydantic.BeforeValidator(_epochs)]


class AdaptedPart(pydantic.BaseModel):
    """A part whose weights come from elsewhere.

    Attributes:
        freeze: the epochs in which its weights do not change: true, false or {until_epoch: N}.
        learning_rate_scale: how fast they change compared with all others.
    """

    freeze: Freeze | None = None
    learning_rate_scale: Annotated[float, pydantic.Field(gt=0.0, le=1.0)] = 1.0


class LoraConfig(Section):
    """Small matrices that are trained beside frozen ones.

    Attributes:
        lora: the rank r of the two matrices whose product is added to each frozen kernel.

    Source: Hu et al., "LoRA: Low-rank adaptation of large language models" (2022).
    """

    lora: Positive


class InitialiseConfig(AdaptedPart, Section):
    """Parts whose weights are taken from another model before the training.

    Attributes:
        donor: the directory of that model, relative to the config file; its key in a config is `from`.
        parts: their names in both configs, such as "encoders.image", "heads.group", "fusion" or "shared_space".
    """

    donor: Text = pydantic.Field(alias="from")
    parts: Annotated[list[Text], pydantic.Field(min_length=1)]
