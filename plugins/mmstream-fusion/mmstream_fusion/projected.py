"""The base of all fusions here, which end in an affine map to the shared width."""

from __future__ import annotations

from typing import Any

import keras

from mmstream.models.configured import ConfiguredLayer


class ProjectedFusion(ConfiguredLayer):
    """A fusion that ends in an affine map to the shared width.

    Args:
        width: D.
    """

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.projection = keras.layers.Dense(width, name="projection", dtype=self.dtype_policy)
