"""The shared space: one vector for each field, comparable across fields, and their fusions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import keras
from keras import ops

from mmstream.config.schema import Config
from mmstream.interfaces import Reading
from mmstream.models.layers import FillIn, JoinReadings, ModalityDropout, PoolTokens
from mmstream.plugins import components

FUSION = "fusion"


class SharedSpace:
    """Maps each field's tokens into one space: f_shared(f_field(mean of the tokens)), both affine.

    Source: the joint embedding of Wang et al., "Learning two-branch neural networks" (2017), in its affine form.

    Args:
        fields: the fields that are mapped into it.
        width: D.
    """

    def __init__(self, fields: Collection[str], width: int) -> None:
        self._shared = keras.layers.Dense(width, name="shared_map")
        self._of_field = {name: PoolTokens(width, name=f"field_map_{name}") for name in sorted(fields)}

    def project(self, field: str, encoded: Mapping[str, Any]) -> Any:
        """A field's vector in the shared space: {"tokens", "mask"} → float[B, D]."""
        return self._shared(self._of_field[field](encoded["tokens"], encoded["mask"]))


def fusion_name(config: Config, fields: Collection[str]) -> str:
    """The name of the layer that fuses these fields."""
    return FUSION if len(fields) == len(config.model.encoders) else "_".join([FUSION, *sorted(fields)])


def fuse(config: Config, readings: Mapping[str, Reading], generator: Any) -> Reading:
    """Combine several fields into one reading, whose vector comes from the config's fusion.

    Args:
        config: gives the fusion, and how often training hides a field from it.
        readings: the readings of these fields.
        generator: imputes embeddings of absent fields; None to leave them out.
    """
    part, training = config.model.fusion, config.training
    assert part is not None
    suffix = fusion_name(config, readings).removeprefix(FUSION)
    present = {name: reading["present"] for name, reading in readings.items()}
    if training.modality_dropout and len(readings) > 1:
        dropout = ModalityDropout(training.modality_dropout, training.seed, name=f"modality_dropout{suffix}")
        present = dropout(present)
    seen: dict[str, Any] = {name: {**reading, "present": present[name]} for name, reading in readings.items()}
    if generator is not None and set(generator.fields) & set(seen):
        seen = FillIn(name=f"filled_in{suffix}")(seen, _imputed(generator, seen))
    fusion = components.build("fusion", part.use, part.parameters, width=config.model.width, name=f"{FUSION}{suffix}")
    tokens = {name: {key: r[key] for key in ("tokens", "mask", "present")} for name, r in seen.items()}
    joined = JoinReadings(name=f"joined{suffix}")(tokens)
    return Reading(tokens=joined["tokens"], mask=joined["mask"], present=joined["present"], vector=fusion(seen))


def _imputed(generator: Any, readings: Mapping[str, Reading]) -> dict[str, Any]:
    """{field: float[B, D]}: embeddings that a generator imputes from those of the fields that were read."""
    some = next(iter(readings.values()))
    nothing = {key: ops.zeros_like(some[key]) for key in ("vector", "present")}
    seen: dict[str, Any] = {name: readings.get(name, nothing) for name in generator.fields}
    imputed = generator({n: r["vector"] for n, r in seen.items()}, {n: r["present"] for n, r in seen.items()})
    return {name: vector for name, vector in imputed.items() if name in readings}
