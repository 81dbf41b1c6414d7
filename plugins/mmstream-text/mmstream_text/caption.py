"""A head that writes a text about what it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import annotated_types
import keras
import numpy as np
import sacrebleu
from keras import ops

from mmstream.interfaces import END, PADDING, RESERVED_IDS, START, Fitted, LabelType, Outcome, Reading, Spec, Texts
from mmstream.models.configured import ConfiguredLayer
from mmstream_text import decoding
from mmstream_text.tokens import detokenise, tokenise

_NEXT_SAMPLE = 1_000_003
"""Distance between the keys of a record's samples: any number that makes their hashes differ."""


@keras.saving.register_keras_serializable(package="mmstream_text")
class Caption(ConfiguredLayer):
    """Predicts a `text`, token by token: a GRU that starts from the vector and attends to the tokens of its reading.

    In training, each token is predicted from the true ones before it (teacher forcing); the loss is the mean negative
    log-likelihood of a text's known tokens and its end. In labelling, the likeliest token is taken each time, or texts
    are found by beam search, or sampled; the score is the geometric mean of the tokens' probabilities. Equal records
    get equal texts, sampled ones included.

    Source: Xu et al., "Show, attend and tell" (2015), with the attention of Luong et al., "Effective approaches to
    attention-based neural machine translation" (2015).

    Args:
        vocabulary_size: V.
        length: L, the maximum number of tokens of a text.
        units: of the embedding and the GRU.
        dropout: share of the embeddings and of the last layer that is dropped in training.
        beams: width of the beam search; 1 takes the likeliest token each time.
        temperature: 0 takes the likeliest text; above 0, tokens are sampled: at 1 with the network's own probabilities,
            below 1 closer to the likeliest. It cannot be combined with `beams`.
        seed: of the samples.
    """

    autoregressive: ClassVar[bool] = True
    label_type: ClassVar[LabelType] = "string"
    score_type: ClassVar[LabelType] = "number"
    metric: ClassVar[str] = "chrf"
    progress_metric: ClassVar[str] = "token_accuracy"

    def __init__(
        self,
        vocabulary_size: int,
        length: int,
        *,
        units: Annotated[int, annotated_types.Ge(1)] = 256,
        dropout: Annotated[float, annotated_types.Interval(ge=0, lt=1)] = 0.3,
        beams: Annotated[int, annotated_types.Interval(ge=1, le=64)] = 1,
        temperature: Annotated[float, annotated_types.Ge(0)] = 0.0,
        seed: Annotated[int, annotated_types.Ge(0)] = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if beams > 1 and temperature:
            raise ValueError("beams and temperature cannot be combined: a beam search does not sample")
        self.vocabulary_size = vocabulary_size
        self.length = length
        self.units = units
        self.dropout = dropout
        self.beams = beams
        self.temperature = temperature
        self.seed = seed
        policy, rows = self.dtype_policy, vocabulary_size + RESERVED_IDS
        self.embedding = keras.layers.Embedding(rows, units, name="embedding", dtype=policy)
        self.drop = keras.layers.Dropout(dropout, name="dropout", dtype=policy)
        self.start = keras.layers.Dense(units, activation="tanh", name="start", dtype=policy)
        self.gru = keras.layers.GRU(units, return_sequences=True, name="gru", dtype=policy)
        self.keys = keras.layers.Dense(units, use_bias=False, name="keys", dtype=policy)
        self.mix = keras.layers.Dense(units, activation="tanh", name="mix", dtype=policy)
        self.logits = keras.layers.Dense(rows, name="logits", dtype="float32")

    @classmethod
    def sizes(cls, spec: Spec, fitted: Fitted) -> dict[str, int]:
        """The number of the field's tokens, and its length."""
        return {"vocabulary_size": len(fitted.vocabulary), "length": spec["ids"].shape[0]}

    def build(self, reading_shape: Mapping[str, Any], target_shape: Any = None) -> None:
        """Build for tokens [B, T, D] and a vector [B, D]."""
        width = reading_shape["tokens"][-1]
        self.embedding.build((None, self.length))
        self.start.build(reading_shape["vector"])
        self.gru.build((None, self.length, self.units))
        self.keys.build((None, None, width))
        self.mix.build((None, None, self.units + width))
        self.logits.build((None, None, self.units))

    def call(self, reading: Reading, target: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """A reading and a text → the logits of each token of that text.

        Args:
            reading: its "tokens", "mask" and "vector" are read.
            target: {"ids": int[B, L]}.
            training: whether to apply dropout.

        Returns:
            {"logits": float32[B, L, V + 4]}.
        """
        ids = ops.cast(target["ids"], "int32")
        before = ops.concatenate([ops.full_like(ids[:, :1], START), ids[:, :-1]], axis=1)
        embedded = self.drop(self.embedding(before), training=training)
        states = self.gru(embedded, initial_state=self.start(reading["vector"]), training=training)
        return {"logits": self._logits(states, reading, self.keys(reading["tokens"]), training)}

    def generate(self, reading: Reading) -> dict[str, Any]:
        """A reading → its likeliest text, {"ids": int32[B, L], "score": float32[B]}."""
        if self.beams > 1:
            return {key: value[:, 0] for key, value in self._search(reading, self.beams).items()}
        if self.temperature:
            return {key: value[:, 0] for key, value in self._samples(reading, 1, self.temperature).items()}
        step, state = self._begin(reading, 1)
        return decoding.likeliest(step, state, self.length, self.vocabulary_size + RESERVED_IDS)

    def candidates(self, reading: Reading, count: int) -> dict[str, Any]:
        """A reading → several texts, {"ids": int32[B, count, L], "score": float32[B, count]}.

        Half of the texts, rounded up, come from a beam search with that many beams, the likeliest first; the rest are
        sampled at `temperature`, or at 1 if that is 0.
        """
        texts = self._search(reading, count - count // 2)
        if count == 1:
            return texts
        samples = self._samples(reading, count // 2, self.temperature or 1.0)
        return {key: ops.concatenate([texts[key], samples[key]], axis=1) for key in texts}

    def _search(self, reading: Reading, beams: int) -> dict[str, Any]:
        step, state = self._begin(reading, beams)
        return decoding.beam_search(step, state, self.length, self.vocabulary_size + RESERVED_IDS, beams)

    def _samples(self, reading: Reading, count: int, temperature: float) -> dict[str, Any]:
        """{"ids": int32[B, count, L], "score": float32[B, count]}; the same for equal readings, in any batch."""
        rows = self.vocabulary_size + RESERVED_IDS
        step, state = self._begin(reading, count)
        key = ops.sum(ops.cast(state, "float32") * np.cos(np.arange(self.units, dtype=np.float32)), axis=-1)
        key = ops.reshape(ops.cast(ops.round(key * 100), "int32"), (-1, count))
        key = ops.reshape(key + np.arange(count, dtype=np.int32) * _NEXT_SAMPLE, (-1,))
        noise = decoding.gumbel_noise(key, rows, temperature, self.seed)
        texts = decoding.likeliest(step, state, self.length, rows, noise=noise)
        return {name: ops.reshape(value, (-1, count, *value.shape[1:])) for name, value in texts.items()}

    def _begin(self, reading: Reading, times: int) -> tuple[decoding.Step, Any]:
        """The step of a language model for `times` texts of each record, side by side, and its initial state."""
        seen: Mapping[str, Any] = reading
        if times > 1:
            seen = {key: ops.repeat(seen[key], times, axis=0) for key in ("tokens", "mask", "vector")}
        keys = self.keys(seen["tokens"])

        def step(token: Any, state: Any) -> tuple[Any, Any]:
            output, (state,) = self.gru.cell(self.embedding(token), [state])
            return self._logits(ops.expand_dims(output, 1), seen, keys, False)[:, 0], state

        return step, self.start(seen["vector"])

    def sample(self, reading: Reading, seed: Any = None) -> Any:
        """Sample a text, each token with the probability that the head gives it; without a seed, the likeliest text.

        In the forward pass a token is one of the ids; in the backward pass it counts as its softmax, so that gradients
        reach the head.

        Source: the straight-through estimator of Jang et al., "Categorical reparameterization with Gumbel-softmax"
        (2017).

        Args:
            reading: what the text is about.
            seed: a `keras.random.SeedGenerator`.

        Returns:
            float32[B, L, V + 4]: one-hot, padding after the end.
        """
        state, keys = self.start(reading["vector"]), self.keys(reading["tokens"])
        rows = self.vocabulary_size + RESERVED_IDS
        ids = ops.arange(rows, dtype="int32")
        token = ops.cast(ids == START, "float32") + ops.zeros_like(ops.cast(state[:, :1], "float32"))
        alive, tokens = ops.ones_like(token[:, :1]), []
        for _ in range(self.length):  # unrolled: no other loop passes gradients on every backend
            embedded = ops.matmul(ops.cast(token, self.compute_dtype), self.embedding.embeddings)
            output, (state,) = self.gru.cell(embedded, [state])
            logits = self._logits(ops.expand_dims(output, 1), reading, keys, False)[:, 0] + decoding.never(rows)
            if seed is not None:
                logits += -ops.log(-ops.log(keras.random.uniform(ops.shape(logits), 1e-7, 1 - 1e-7, seed=seed)))
            soft = ops.softmax(logits)
            best = ops.cast(ops.argmax(soft, axis=-1, keepdims=True), "int32")
            token = ops.cast(ids == best, "float32") + soft - ops.stop_gradient(soft)
            token = ops.where(alive > 0, token, ops.cast(ids == PADDING, "float32"))
            tokens.append(token)
            alive *= ops.cast(best != END, "float32")
        return ops.stack(tokens, axis=1)

    def target_mask(self, target: Mapping[str, Any]) -> Any:
        """float32[B]: 0 where there is no text, or no token of it is in the vocabulary."""
        return ops.cast(ops.any(target["ids"] >= RESERVED_IDS, axis=1), "float32")

    def loss(self, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> Any:
        """float32[B]: mean negative log-likelihood of the tokens that are known, and of the end."""
        ids = ops.cast(target["ids"], "int32")
        return _mean_of_counted(ops.sparse_categorical_crossentropy(ids, predictions["logits"], from_logits=True), ids)

    def progress(self, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> Any:
        """float32[B]: the share of a text's known tokens, and its end, that are predicted right (teacher forcing)."""
        ids = ops.cast(target["ids"], "int32")
        best = ops.cast(ops.argmax(predictions["logits"], axis=-1), "int32")
        return _mean_of_counted(ops.cast(best == ids, "float32"), ids)

    def calibrate(self, predictions: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, Any]:
        """{}: decoding needs no calibration."""
        return {}

    def decode(
        self, predictions: Mapping[str, Any], fitted: Fitted, calibration: Mapping[str, Any]
    ) -> list[tuple[Any, Any]]:
        """Texts and their scores."""
        return [
            (detokenise(fitted.vocabulary[n - RESERVED_IDS] for n in row if n >= RESERVED_IDS), float(score))
            for row, score in zip(predictions["ids"], predictions["score"], strict=True)
        ]

    def serve(self, predictions: Mapping[str, Any], fitted: Fitted, calibration: Mapping[str, Any]) -> tuple[Any, Any]:
        """As `decode`: string[B] and float32[B]."""
        import tensorflow as tf

        tokens = tf.gather([""] * RESERVED_IDS + list(fitted.vocabulary), predictions["ids"])
        return tf.strings.regex_replace(tf.strings.reduce_join(tokens, axis=1), "^ ", ""), predictions["score"]

    def compare(self, targets: Sequence[str], predictions: Sequence[str]) -> tuple[np.ndarray, list[list[str]]]:
        """The chrF of each prediction, 0 to 1, and its tokens."""
        chrf = sacrebleu.CHRF()
        pairs = zip(predictions, targets, strict=True)
        quality = np.array([chrf.sentence_score(prediction, [target]).score / 100 for prediction, target in pairs])
        return quality, [tokenise(text) for text in predictions]

    def evaluate(self, outcome: Outcome) -> dict[str, float]:
        """BLEU-4 over this field's tokens (so in any script), chrF, and the share of exact matches; all 0 to 1."""
        if not isinstance(outcome, Texts) or not len(outcome.rows):
            return {}
        targets, predictions = outcome.targets, outcome.predictions
        # Effective order: without it, texts of fewer than four tokens count as wrong even where they match exactly.
        bleu = sacrebleu.BLEU(tokenize="none", force=True, effective_order=True)
        tokens = outcome.tokens, [tokenise(text) for text in targets]
        spaced = [[" ".join(token.strip() for token in text) for text in texts] for texts in tokens]
        return {
            "bleu4": bleu.corpus_score(spaced[0], [spaced[1]]).score / 100,
            "chrf": sacrebleu.CHRF().corpus_score(predictions, [targets]).score / 100,
            "exact": float(np.mean([one == other for one, other in zip(predictions, targets, strict=True)])),
        }

    def _logits(self, states: Any, reading: Mapping[str, Any], keys: Any, training: bool | None) -> Any:
        """GRU states [B, L, units] → logits float32[B, L, V + 4], by attention over the reading's tokens."""
        scores = ops.matmul(states, ops.transpose(keys, (0, 2, 1))) / float(np.sqrt(self.units))
        scores = ops.where(ops.expand_dims(reading["mask"], 1) > 0, ops.cast(scores, "float32"), decoding.NEVER)
        weights = ops.cast(ops.softmax(scores), self.compute_dtype)
        context = ops.matmul(weights, reading["tokens"])
        mixed = self.mix(ops.concatenate([states, context], axis=-1))
        return self.logits(self.drop(mixed, training=training))


def _mean_of_counted(each: Any, ids: Any) -> Any:
    """float32[B, L] → float32[B], over known tokens and the end; 0 where there are none."""
    counted = ops.cast(ids >= END, "float32")
    return ops.sum(each * counted, axis=1) / ops.maximum(ops.sum(counted, axis=1), 1.0)
