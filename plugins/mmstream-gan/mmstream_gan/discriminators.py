"""Networks that tell real from fake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mmstream.interfaces import PADDING


class Discriminator(keras.layers.Layer):
    """D(x) = sigmoid(W_d x + b_d); with `hidden` layers before it, leaky ReLUs between them.

    Source: Goodfellow et al., "Generative adversarial nets" (2014); spectral normalisation of Miyato et al., "Spectral
    normalization for generative adversarial networks" (2018).

    Args:
        hidden: units of each hidden layer; none for the affine form.
        spectral: whether each weight matrix is divided by its largest singular value.
    """

    def __init__(self, hidden: Sequence[int], *, spectral: bool, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.hidden = [
            affine(keras.layers.Dense(n, name=f"hidden_{k}", dtype="float32"), spectral) for k, n in enumerate(hidden)
        ]
        self.verdict = affine(keras.layers.Dense(1, name="verdict", dtype="float32"), spectral)

    def build(self, vectors_shape: Any) -> None:
        """Build for vectors [N, F]."""
        width = vectors_shape[-1]
        for layer in (*self.hidden, self.verdict):
            layer.build((None, width))
            width = layer.compute_output_shape((None, width))[-1]
        self.built = True

    def call(self, vectors: Any, training: bool | None = None) -> tuple[Any, Any]:
        """float32[N, F] → (logits float32[N], features float32[N, H]): the last hidden layer, or the vectors."""
        for layer in self.hidden:
            vectors = ops.leaky_relu(layer(vectors, **_training(layer, training)), 0.2)
        return self.verdict(vectors, **_training(self.verdict, training))[:, 0], vectors


class TextDiscriminator(keras.layers.Layer):
    """Tells whether a text is the true one for a record's vector.

    The text's embedding is the maximum over time of a convolution over its tokens. A `Discriminator` reads it, the
    vector through an affine map, and the product of the two.

    Source: the convolutional discriminator of Zhang et al., "Adversarial feature matching for text generation" (2017);
    its condition as in Reed et al., "Generative adversarial text to image synthesis" (2016).

    Args:
        units: of the tokens' and the text's embedding.
        hidden: see `Discriminator`.
        spectral: see `Discriminator`.
    """

    def __init__(self, units: int, hidden: Sequence[int], *, spectral: bool, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.units = units
        self.tokens = keras.layers.Dense(units, use_bias=False, name="tokens", dtype="float32")
        self.words = affine(keras.layers.Conv1D(units, 3, padding="same", name="words", dtype="float32"), spectral)
        self.condition = affine(keras.layers.Dense(units, name="condition", dtype="float32"), spectral)
        self.pairs = Discriminator(hidden, spectral=spectral, name="pairs")

    def build(self, vectors_shape: Any, texts_shape: Any) -> None:
        """Build for vectors [N, D] and texts [N, L, R]."""
        self.tokens.build(texts_shape)
        self.words.build((None, texts_shape[1], self.units))
        self.condition.build(vectors_shape)
        self.pairs.build((None, 3 * self.units))
        self.built = True

    def call(self, vectors: Any, texts: Any, training: bool | None = None) -> tuple[Any, Any]:
        """float32[N, D] and one-hot float32[N, L, R] → (logits float32[N], features float32[N, H + U])."""
        there = 1.0 - texts[:, :, PADDING : PADDING + 1]
        words = ops.relu(self.words(self.tokens(texts) * there, **_training(self.words, training))) * there
        text = ops.max(words, axis=1)
        condition = self.condition(vectors, **_training(self.condition, training))
        logits, features = self.pairs(ops.concatenate([text, condition, text * condition], axis=-1), training=training)
        return logits, ops.concatenate([features, text], axis=-1)


def frozen(discriminator: keras.layers.Layer, *inputs: Any) -> tuple[Any, Any]:
    """The outputs of a discriminator, with gradients to its inputs but not to its weights.

    It is called in training mode, as Keras normalises weights only then; its state is not updated.
    """
    weights = [ops.stop_gradient(weight.value) for weight in discriminator.trainable_variables]
    outputs, _ = discriminator.stateless_call(weights, discriminator.non_trainable_variables, *inputs, training=True)
    return outputs


def affine(layer: keras.layers.Layer, spectral: bool) -> keras.layers.Layer:
    """Wrap a layer in spectral normalisation of its weights if `spectral`."""
    return keras.layers.SpectralNormalization(layer, name=layer.name, dtype="float32") if spectral else layer


def _training(layer: keras.layers.Layer, training: bool | None) -> Mapping[str, bool]:
    """The argument `training` for layers that take it: spectral normalisation updates its state in training."""
    return {"training": bool(training)} if isinstance(layer, keras.layers.SpectralNormalization) else {}
