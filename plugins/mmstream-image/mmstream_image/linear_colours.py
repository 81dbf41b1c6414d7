"""Shared by all encoders of pictures: the colours, for linear models beside the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmstream.interfaces import Spec
from mmstream.models.colours import Colours, count_colours


class LinearColours:
    """An encoder whose field has `pixels`: uint8[H, W, C]."""

    def count_linear_features(self, spec: Spec) -> int:
        """As many as pictures with so many channels have."""
        return count_colours(spec["pixels"].shape[-1])

    @staticmethod
    def linear_features(tensors: Mapping[str, Any]) -> dict[str, Any]:
        """The shares of colours and a thumbnail."""
        return {"dense": Colours()(tensors["pixels"])}
