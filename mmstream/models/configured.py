"""Bases: layers that list their parameters only once, and layers that end in an affine map to the shared width."""

from __future__ import annotations

import inspect
from typing import Any

import keras


class ConfiguredLayer(keras.layers.Layer):
    """A layer whose config is its constructor's arguments, each kept as an attribute of the same name."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        parameters = list(inspect.signature(type(self).__init__).parameters.values())[1:]
        config: dict[str, Any] = super().get_config()
        for parameter in parameters:  # those of Keras, such as `dtype`, are there already
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD and parameter.name not in config:
                config[parameter.name] = getattr(self, parameter.name)
        return config


class ProjectedLayer(ConfiguredLayer):
    """A layer that ends in an affine map to the shared width.

    Args:
        width: D.
    """

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.projection = keras.layers.Dense(width, name="projection", dtype=self.dtype_policy)
