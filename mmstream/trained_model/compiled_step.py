"""A network as one compiled function of a fixed batch size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mmstream.interfaces import Spec
from mmstream.preprocessing.preprocessor import Tensors

Step = Callable[[Tensors], dict[str, Any]]
"""{field: {tensor: numpy [B, …]}} → named outputs, numpy [B, …]."""


def compile_step(network: Any, specs: Mapping[str, Spec], batch: int) -> Step:
    """Compile a network for inference.

    Args:
        network: a Keras model.
        specs: specs of the tensors that it takes, by field.
        batch: B, the only batch size that the function takes.
    """
    import tensorflow as tf

    signature = {
        name: {key: tf.TensorSpec((batch, *shape), dtype) for key, (shape, dtype) in spec.items()}
        for name, spec in specs.items()
    }
    function = tf.function(lambda tensors: in_float32(network(tensors, training=False)), input_signature=[signature])
    concrete = function.get_concrete_function()

    def step(tensors: Tensors) -> dict[str, Any]:
        inputs = tf.nest.map_structure(tf.constant, tensors)
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), concrete(inputs))

    return step


def in_float32(outputs: Any) -> Any:
    """The outputs of a network, with floats of any precision cast to float32; TensorFlow code."""
    import tensorflow as tf

    return tf.nest.map_structure(lambda t: tf.cast(t, tf.float32) if t.dtype.is_floating else t, outputs)
