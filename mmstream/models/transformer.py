"""Transformer layers, from which several plugins build encoders and fusions."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mmstream.models.configured import ConfiguredLayer


@keras.saving.register_keras_serializable(package="mmstream")
class TransformerBlock(ConfiguredLayer):
    """Attention and a two-layer perceptron, each with pre-normalisation and a residual connection.

    x + attention(norm(x), norm(memory)), then x + perceptron(norm(x)). Without a memory, x attends to itself.

    Source: Vaswani et al., "Attention is all you need" (2017), with the normalisation first as in Xiong et al., "On
    layer normalization in the transformer architecture" (2020).

    Args:
        units: the width of a token, a multiple of `heads`.
        heads: how many heads the attention has.
        expansion: the width of the perceptron's inner layer, as a multiple of `units`.
        dropout: the share of the outputs of attention and perceptron that is dropped in training.
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
        """Let tokens attend to the memory, or to each other.

        Args:
            tokens: float[B, T, units].
            counted: the mask of the memory (or of `tokens`), float[B, S]: 1 for tokens that may be attended to. If
                there are none, attention adds nothing.
            memory: float[B, S, units]; None for `tokens` themselves.
            training: whether to apply dropout.

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


@keras.saving.register_keras_serializable(package="mmstream")
class TransformerStack(ConfiguredLayer):
    """Adds position embeddings to tokens, and passes them through several blocks of self-attention and a normalisation.

    Args:
        length: T, how many tokens there are.
        units: the width of a token, a multiple of `heads`.
        layers: how many blocks there are.
        heads: how many heads each block's attention has.
        dropout: the share of the input tokens, and of what each block adds, that is dropped in training.
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
        shape = (self.length, self.units)
        self.position_embedding = self.add_weight(
            shape=shape, initializer=initial, name="places"
        )  # its name in saved models
        for layer in (*self.blocks, self.normalisation):
            layer.build((None, self.length, self.units))

    def call(self, tokens: Any, counted: Any, training: bool | None = None) -> Any:
        """Tokens float[B, T, units] and their mask float[B, T] → float[B, T, units]."""
        tokens = self.drop(tokens + ops.cast(self.position_embedding, self.compute_dtype), training=training)
        for block in self.blocks:
            tokens = block(tokens, counted, training=training)
        return self.normalisation(tokens)


class TransformerEncoder(ConfiguredLayer):
    """An encoder whose tokens go through a `TransformerStack` and are mapped to the shared width.

    Args:
        width: D.
        units: the width of a token within the encoder, a multiple of `heads`.
        layers: how many transformer blocks there are.
        heads: how many heads each block's attention has.
        dropout: the share of the input tokens, and of what each block adds, that is dropped in training.
    """

    def __init__(self, width: int, *, units: int, layers: int, heads: int, dropout: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.units = units
        self.layers = layers
        self.heads = heads
        self.dropout = dropout

    def add_stack(self, length: int) -> None:
        """Make the layers for T = `length` tokens; a constructor calls this last."""
        policy = self.dtype_policy
        self.stack = TransformerStack(
            length, self.units, self.layers, self.heads, self.dropout, name="stack", dtype=policy
        )
        self.projection = keras.layers.Dense(self.width, name="projection", dtype=policy)

    def build_stack(self) -> None:
        """Build these layers for tokens [B, T, units]."""
        shape = (None, self.stack.length, self.units)
        self.stack.build(shape)
        self.projection.build(shape)

    def encode(self, tokens: Any, mask: Any, training: bool | None) -> dict[str, Any]:
        """Tokens float[B, T, units] and their mask float[B, T] → tokens float[B, T, D], mask float[B, T]."""
        return {"tokens": self.projection(self.stack(tokens, mask, training=training)), "mask": mask}
