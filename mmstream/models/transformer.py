"""The transformer layers that encoders and fusions of several plugins are made of."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mmstream")
class TransformerBlock(keras.layers.Layer):
    """Attention and a two-layer perceptron, each behind a normalisation and beside a shortcut.

    x + attention(norm(x), norm(memory)), then x + perceptron(norm(x)). Without a memory, x attends to itself.

    Source: Vaswani et al., "Attention is all you need" (2017), with the normalisation first as in Xiong et al., "On
    layer normalization in the transformer architecture" (2020).

    Args:
        units: of a token, a multiple of `heads`.
        heads: of the attention.
        expansion: width of the perceptron's inner layer, in `units`.
        dropout: share of what attention and perceptron add that is dropped in training.
    """

    def __init__(self, units: int, heads: int, *, expansion: int = 4, dropout: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if units % heads:
            raise ValueError(f"units must be a multiple of heads; found {units} and {heads}")
        self.units = units
        self.heads = heads
        self.expansion = expansion
        self.dropout = dropout
        policy = self.dtype_policy
        self.attention_norm = keras.layers.LayerNormalization(epsilon=1e-6, name="attention_norm", dtype=policy)
        self.attention = keras.layers.MultiHeadAttention(heads, units // heads, name="attention", dtype=policy)
        self.inner_norm = keras.layers.LayerNormalization(epsilon=1e-6, name="inner_norm", dtype=policy)
        self.inner = keras.layers.Dense(expansion * units, activation="gelu", name="inner", dtype=policy)
        self.outer = keras.layers.Dense(units, name="outer", dtype=policy)
        self.drop = keras.layers.Dropout(dropout, name="dropout", dtype=policy)

    def build(self, tokens_shape: Any, counted_shape: Any = None, memory_shape: Any = None) -> None:
        """Build for tokens [B, T, units]."""
        shape = (None, None, self.units)
        self.attention_norm.build(shape)
        self.attention.build(shape, shape)
        self.inner_norm.build(shape)
        self.inner.build(shape)
        self.outer.build((None, None, self.expansion * self.units))

    def call(self, tokens: Any, counted: Any, memory: Any = None, training: bool | None = None) -> Any:
        """Let tokens attend.

        Args:
            tokens: float[B, T, units].
            counted: float[B, S], 1 where what is attended to counts: a token of the memory (or of `tokens`). Where
                none does, nothing is added.
            memory: float[B, S, units]; None for `tokens` themselves.
            training: whether to drop out.

        Returns:
            float[B, T, units].
        """
        queries = self.attention_norm(tokens)
        values = queries if memory is None else self.attention_norm(memory)
        any_counts = ops.max(counted, axis=1, keepdims=True)[..., None]
        attended = self.attention(queries, values, attention_mask=ops.expand_dims(counted > 0, 1), training=training)
        tokens = tokens + self.drop(ops.where(any_counts > 0, attended, 0), training=training)
        inner = self.outer(self.inner(self.inner_norm(tokens)))
        return tokens + self.drop(inner, training=training)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"units": self.units, "heads": self.heads, "expansion": self.expansion, "dropout": self.dropout}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="mmstream")
class TransformerStack(keras.layers.Layer):
    """Tokens that know their place, through several blocks in which they attend to each other, and a normalisation.

    Args:
        length: T, how many tokens there are.
        units: of a token, a multiple of `heads`.
        layers: blocks.
        heads: of each block's attention.
        dropout: share that is dropped in training, of each token at the start and of what each block adds.
    """

    def __init__(self, length: int, units: int, layers: int, heads: int, dropout: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length = length
        self.units = units
        self.layers = layers
        self.heads = heads
        self.dropout = dropout
        policy = self.dtype_policy
        self.drop = keras.layers.Dropout(dropout, name="dropout", dtype=policy)
        self.blocks = [
            TransformerBlock(units, heads, dropout=dropout, name=f"block_{n}", dtype=policy) for n in range(layers)
        ]
        self.normalisation = keras.layers.LayerNormalization(epsilon=1e-6, name="normalisation", dtype=policy)

    def build(self, tokens_shape: Any, counted_shape: Any = None) -> None:
        """Build for tokens [B, T, units]."""
        initial = keras.initializers.TruncatedNormal(stddev=0.02)
        self.places = self.add_weight(shape=(self.length, self.units), initializer=initial, name="places")
        for layer in (*self.blocks, self.normalisation):
            layer.build((None, self.length, self.units))

    def call(self, tokens: Any, counted: Any, training: bool | None = None) -> Any:
        """Tokens float[B, T, units] and which of them count, float[B, T] → float[B, T, units]."""
        tokens = self.drop(tokens + ops.cast(self.places, self.compute_dtype), training=training)
        for block in self.blocks:
            tokens = block(tokens, counted, training=training)
        return self.normalisation(tokens)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {
            "length": self.length,
            "units": self.units,
            "layers": self.layers,
            "heads": self.heads,
            "dropout": self.dropout,
        }
        return {**super().get_config(), **own}
