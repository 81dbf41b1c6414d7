"""A bare training loop: the same network, hand-written in Keras, on arrays in memory, with Keras' own `fit`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

WIDTH, UNITS, LAYERS, HEADS, DROPOUT = 128, 128, 4, 4, 0.1
RESERVED = 4
"""Ids below this are padding and the like."""


class Places(layers.Layer):
    """Adds to each token the learnt embedding of its position."""

    def build(self, shape: Any) -> None:
        self.places = self.add_weight(shape=shape[1:], name="places")

    def call(self, tokens: Any) -> Any:
        return tokens + self.places


def transformer(tokens: Any, mask: Any) -> Any:
    tokens = layers.Dropout(DROPOUT)(Places()(tokens))
    for _ in range(LAYERS):
        queries = layers.LayerNormalization(epsilon=1e-6)(tokens)
        attended = layers.MultiHeadAttention(HEADS, UNITS // HEADS)(queries, queries, attention_mask=mask)
        tokens = tokens + layers.Dropout(DROPOUT)(attended)
        inner = layers.Dense(4 * UNITS, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(tokens))
        tokens = tokens + layers.Dropout(DROPOUT)(layers.Dense(UNITS)(inner))
    return layers.Dense(WIDTH)(layers.LayerNormalization(epsilon=1e-6)(tokens))


def vit(pixels: Any, patch: int = 8) -> Any:
    grid = layers.Conv2D(UNITS, patch, strides=patch)(layers.Rescaling(1 / 127.5, -1)(pixels))
    tokens = transformer(layers.Reshape((-1, UNITS))(grid), None)
    return layers.GlobalAveragePooling1D()(tokens)


def text_transformer(ids: Any, vocabulary: int) -> Any:
    counted = ids >= RESERVED
    tokens = transformer(layers.Embedding(vocabulary, UNITS)(ids), counted[:, None, :])
    weight = ops.cast(counted, "float32")[..., None]
    return ops.sum(tokens * weight, 1) / ops.maximum(ops.sum(weight, 1), 1)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, and print the number of parameters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=["vit", "transformer"])
    parser.add_argument("arrays", help="npz of train_x, train_y, validation_x, validation_y and the counts of values")
    parser.add_argument("batch_size", type=int)
    parser.add_argument("epochs", type=int)
    flags = parser.parse_args(argv)
    arrays = np.load(flags.arrays)

    x = arrays["train_x"]
    inputs = keras.Input(x.shape[1:], dtype=x.dtype)
    pooled = vit(inputs) if flags.network == "vit" else text_transformer(inputs, int(arrays["vocabulary"]))
    vector = layers.Dropout(0.3)(layers.Dense(WIDTH)(layers.Dense(WIDTH)(pooled)))
    model = keras.Model(inputs, layers.Dense(int(arrays["classes"]))(vector))
    rate = keras.optimizers.schedules.CosineDecay(0.001, flags.epochs * (len(x) // flags.batch_size))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(rate), loss, jit_compile=False)  # as in the config that it is compared with
    train = tf.data.Dataset.from_tensor_slices((x, arrays["train_y"])).shuffle(len(x))
    validation = tf.data.Dataset.from_tensor_slices((arrays["validation_x"], arrays["validation_y"]))
    model.fit(
        train.batch(flags.batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE),
        validation_data=validation.batch(flags.batch_size).prefetch(tf.data.AUTOTUNE),
        epochs=flags.epochs,
        verbose=2,
    )
    print("parameters", model.count_params())


if __name__ == "__main__":
    main()
