"""Gradients and compiled functions on TensorFlow and JAX, for which Keras has no common interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np


class Gradients(NamedTuple):
    """The result of a function, and the gradients of its scalar, in numpy.

    On TensorFlow, inputs that the scalar does not depend on are missing; on JAX their gradient is zero.

    Attributes:
        result: what the function returned besides the scalar.
        sources: gradients of the floats among the sources, by name.
        weights: gradients of the weights, in their order.
    """

    result: Any
    sources: dict[str, np.ndarray]
    weights: list[np.ndarray]


def gradients(
    function: Callable[[dict[str, Any]], tuple[Any, Any]], sources: Mapping[str, Any], weights: Sequence[keras.Variable]
) -> Gradients:
    """Compute the gradients of a scalar with respect to tensors and weights.

    Args:
        function: {name: tensor} → (float32 scalar, any other result as nested tensors). On JAX it is compiled, as in
            training, and its changes to the state of layers are lost.
        sources: the tensors, by name.
        weights: trainable weights.

    Raises:
        NotImplementedError: Keras has another backend.
    """
    tensors = {name: keras.ops.convert_to_tensor(value) for name, value in sources.items()}
    floats = {name: value for name, value in tensors.items() if keras.backend.is_float_dtype(value.dtype)}
    result, by_source, by_weight = _chosen(_GRADIENTS)(function, tensors, floats, weights)
    return Gradients(
        keras.tree.map_structure(_array, result),
        {name: _array(gradient) for name, gradient in by_source.items() if gradient is not None},
        [_array(gradient) for gradient in by_weight if gradient is not None],
    )


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of tensors to one graph.

    Raises:
        NotImplementedError: Keras has another backend.
    """
    return _chosen(_COMPILED)(function)


def _chosen(by_backend: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    name = keras.backend.backend()
    if name not in by_backend:
        raise NotImplementedError(
            f"contract tests run only on these backends: {', '.join(by_backend)}; the current backend is {name}"
        )
    return by_backend[name]


def _gradients_on_tensorflow(function: Any, tensors: Any, floats: Any, weights: Any) -> tuple[Any, Any, Any]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(floats)
        scalar, result = function(tensors)
    return result, *tape.gradient(scalar, (floats, [weight.value for weight in weights]))


def _gradients_on_jax(function: Any, tensors: Any, floats: Any, weights: Any) -> tuple[Any, Any, Any]:
    import jax

    def at(floats: Any, values: Any) -> tuple[Any, Any]:
        with keras.StatelessScope(state_mapping=list(zip(weights, values, strict=True))):
            return function({**tensors, **floats})

    values = [weight.value for weight in weights]
    (by_source, by_weight), result = jax.jit(jax.grad(at, argnums=(0, 1), has_aux=True))(floats, values)
    return result, by_source, by_weight


def _compiled_on_tensorflow(function: Callable[..., Any]) -> Callable[..., Any]:
    import tensorflow as tf

    return tf.function(function)


def _compiled_on_jax(function: Callable[..., Any]) -> Callable[..., Any]:
    import jax

    return jax.jit(function)


_GRADIENTS = {"tensorflow": _gradients_on_tensorflow, "jax": _gradients_on_jax}
_COMPILED = {"tensorflow": _compiled_on_tensorflow, "jax": _compiled_on_jax}


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor))
