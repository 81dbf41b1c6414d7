"""The contract of a head."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import pytest

from mmstream.evaluation.outcomes import TrainedHead, outcome_of, taken
from mmstream.interfaces import RESERVED_IDS, Classes, Field, Outcome, Texts
from mmstream.models.writing import Generation
from mmstream.plugins import registry
from mmstream.testing.backend import compiled, gradients
from mmstream.testing.network import (
    WIDTH,
    FieldPartContract,
    assert_close,
    assert_finite,
    predict,
    symbols_of,
    to_numpy,
)

_TOKENS = 4
_IS_LABEL: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: type(value) is str,
    "number": lambda value: type(value) is float,
    "strings": lambda value: type(value) is list and all(type(item) is str for item in value),
    "numbers": lambda value: type(value) is list and all(type(item) is float for item in value),
}


class HeadContract(FieldPartContract):
    """A head reloads exactly, treats each record by itself, learns only from known targets, and decodes every record.

    Attributes:
        field, field_parameters, vocabulary: what it predicts, see `FieldPartContract`.
        target: {tensor: rows} of that field as lists, "present" included. At least one row has no value, and at least
            one has a value that can be learnt from.
        target_mask: for each row of `target`, 1 if it can be learnt from, else 0.
        given: for each row, the value that the field was given (`Field.given`); None if there is none.
    """

    kind = "head"
    target: ClassVar[Mapping[str, Any]]
    target_mask: ClassVar[Sequence[int]]
    given: ClassVar[Sequence[Any]]

    @classmethod
    def inputs(cls) -> dict[str, np.ndarray]:
        """A reading with as many rows as the target has."""
        random, count = np.random.default_rng(11), len(cls.target_mask)
        mask = (random.uniform(size=(count, _TOKENS)) < 0.6).astype(np.float32)
        mask[:, 0] = 1
        return {
            "tokens": random.normal(size=(count, _TOKENS, WIDTH)).astype(np.float32),
            "mask": mask,
            "vector": random.normal(size=(count, WIDTH)).astype(np.float32),
            "present": np.ones(count, np.float32),
        }

    @classmethod
    def is_of_texts(cls) -> bool:
        """Whether the head predicts a text field."""
        field: Any = registry.find("field", cls.field)
        return field.text is not Field.text

    @classmethod
    def targets(cls) -> dict[str, np.ndarray]:
        """The target's tensors, as training sees them."""
        spec = {**cls.spec(), "present": ((), "float32")}
        return {name: np.array(cls.target[name], dtype) for name, (_, dtype) in spec.items()}

    @classmethod
    def autoregressive_targets(cls) -> dict[str, np.ndarray] | None:
        """The targets, for an autoregressive head."""
        return cls.targets() if cls.component().autoregressive else None

    @classmethod
    def make(cls, policy: str = "float32") -> Any:
        """As for all layers; a head whose loss needs counts gets them, the first value being the most frequent."""
        head, network = super().make(policy)
        component: Any = cls.component()
        if hasattr(component, "needs_class_counts") and component.needs_class_counts(cls.parameters):
            head.set_class_counts(2.0 ** np.arange(len(cls.vocabulary), 0, -1))
        return head, network

    @classmethod
    def outputs(cls, layer: Any, inputs: Any) -> dict[str, Any]:
        """The outputs of the inference network: predictions, or what an autoregressive head generates."""
        if not cls.component().autoregressive:
            return layer(inputs)
        layer(inputs, symbols_of(cls.targets(), "target-"))  # as in the composer, training comes first
        return Generation(layer)(inputs)

    @classmethod
    def continuous(cls, outputs: Any) -> Any:
        """The predictions, or an autoregressive head's logits, because generated ids may flip on a near tie."""
        return {"logits": outputs["teacher_forced"]["logits"]} if cls.component().autoregressive else outputs

    @pytest.fixture(scope="class")
    @classmethod
    def head(cls) -> Any:
        """The layer, in float32."""
        return cls.make()[0]

    def test_the_target_mask_is_zero_where_the_target_is_unknown(self, head: Any) -> None:
        assert to_numpy(head.target_mask(self.targets())).tolist() == list(self.target_mask)
        absent = {name: np.zeros_like(array) for name, array in self.targets().items()}
        assert not to_numpy(head.target_mask(absent)).any(), "an absent field is zeros, and present = 0"

    @pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
    def test_predictions_and_losses_are_float32(self, policy: str) -> None:
        head, _ = self.make(policy)
        predictions = self._train(head)
        loss = head.loss(predictions, self.targets())
        assert {keras.backend.standardize_dtype(value.dtype) for value in predictions.values()} == {"float32"}
        assert keras.backend.standardize_dtype(loss.dtype) == "float32"
        assert keras.backend.standardize_dtype(head.target_mask(self.targets()).dtype) == "float32"
        assert tuple(loss.shape) == (len(self.target_mask),)

    def test_progress_is_a_finite_float32_of_each_record_with_and_without_targets(self, head: Any) -> None:
        assert head.progress_metric.isidentifier()
        absent = {name: np.zeros_like(array) for name, array in self.targets().items()}
        for targets in (self.targets(), absent):
            progress = head.progress(self._train(head), targets)
            assert keras.backend.standardize_dtype(progress.dtype) == "float32"
            assert tuple(progress.shape) == (len(self.target_mask),)
            assert_finite(to_numpy(progress))

    def test_losses_and_gradients_are_finite_where_the_target_is_unknown(self, head: Any) -> None:
        absent = {name: np.zeros_like(array) for name, array in self.targets().items()}
        for targets in (self.targets(), absent):
            loss, gradients = self._loss_and_gradients(head, targets)
            assert_finite([loss, *gradients])

    def test_an_unknown_target_teaches_nothing(self, head: Any) -> None:
        absent = {name: np.zeros_like(array) for name, array in self.targets().items()}
        _, gradients = self._loss_and_gradients(head, absent)
        assert not any(gradient.any() for gradient in gradients)

    def test_a_known_target_teaches_every_weight(self, head: Any) -> None:
        _, gradients = self._loss_and_gradients(head, self.targets())
        assert len(gradients) == len(head.trainable_weights)
        assert all(gradient.any() for gradient in gradients)

    def test_each_loss_is_that_of_the_record_alone(self, head: Any) -> None:
        def loss(rows: slice) -> np.ndarray:
            reading, targets = ({k: v[rows] for k, v in tree.items()} for tree in (self.inputs(), self.targets()))
            inputs = (reading, targets) if head.autoregressive else (reading,)
            return to_numpy(head.loss(head(*inputs, training=False), targets))

        whole = loss(slice(None))
        for row in range(len(self.target_mask)):
            assert_close(loss(slice(row, row + 1)), whole[row : row + 1])

    def test_what_stands_in_masked_tokens_does_not_matter(self, network: keras.Model) -> None:
        reading = self.inputs()
        reading["tokens"][reading["mask"] == 0] = 1e3
        changed, expected = (predict(network, each, self.autoregressive_targets()) for each in (reading, self.inputs()))
        assert_close(changed, expected)

    def test_every_record_gets_a_label_and_a_score_of_the_declared_types(self, head: Any, network: keras.Model) -> None:
        predictions = predict(network, self.inputs())
        calibration = json.loads(json.dumps(head.calibrate(predictions, self._with_given())))
        absent = predict(network, {name: np.zeros_like(array) for name, array in self.inputs().items()})
        for outputs in (predictions, absent):
            decoded = head.decode(outputs, self.fitted(), calibration)
            assert len(decoded) == len(self.target_mask)
            for label, score in decoded:
                assert _IS_LABEL[head.label_type](label), label
                assert _IS_LABEL[head.score_type](score), score
                assert not isinstance(score, list) or len(score) == len(label)
                assert np.isfinite(score).all()

    def test_metrics_are_numbers_and_there_are_none_without_targets(self, head: Any, network: keras.Model) -> None:
        outcome = self._outcome(head, network, self._with_given())
        assert 0 < len(outcome.rows) <= sum(value is not None for value in self.given)
        metrics = head.evaluate(outcome)
        assert head.metric in metrics
        assert all(isinstance(value, float) and np.isfinite(value) for value in metrics.values()), metrics
        assert head.evaluate(self._outcome(head, network, self._absent())) == {}

    def test_metrics_of_resamples_are_those_of_their_rows(self, head: Any, network: keras.Model) -> None:
        if not hasattr(head, "evaluate_resamples"):
            pytest.skip("the head leaves resamples to mmstream")
        outcome = self._outcome(head, network, self._with_given())
        random, size = np.random.default_rng(3), len(outcome.rows)
        counts = np.stack([np.zeros(size, int), np.eye(size, dtype=int)[0], *random.integers(0, 3, (6, size))])
        measured = head.evaluate_resamples(outcome, counts.astype(np.int32))
        for number, count in enumerate(counts):
            expected = head.evaluate(taken(outcome, np.repeat(np.arange(size), count)))
            found = {name: values[number] for name, values in measured.items() if not np.isnan(values[number])}
            assert found == pytest.approx(expected)

    def test_metrics_are_best_where_each_label_is_what_was_given(self, head: Any, network: keras.Model) -> None:
        outcome = self._outcome(head, network, self._with_given())
        perfect: Outcome
        if isinstance(outcome, Classes):
            scores = outcome.targets.astype(float)
            perfect = dataclasses.replace(outcome, predictions=outcome.targets, scores=scores)
        elif isinstance(outcome, Texts):
            quality, tokens = head.compare(outcome.targets, outcome.targets)
            perfect = dataclasses.replace(outcome, predictions=outcome.targets, quality=quality, tokens=tokens)
        else:
            perfect = dataclasses.replace(outcome, predictions=np.nan_to_num(outcome.targets))
        assert head.evaluate(perfect)[head.metric] >= head.evaluate(outcome)[head.metric]

    def test_probabilities_are_those_of_the_labels(self, head: Any, network: keras.Model) -> None:
        if not hasattr(head, "probabilities"):
            pytest.skip("the head does not choose among fitted values, or gives no probabilities")
        predictions = predict(network, self.inputs())
        probabilities = head.probabilities(predictions)
        assert probabilities.shape == (len(self.target_mask), len(self.vocabulary))
        assert ((probabilities >= 0) & (probabilities <= 1)).all()
        decoded = head.decode(predictions, self.fitted(), head.calibrate(predictions, self._with_given()))
        for row, (label, score) in zip(probabilities, decoded, strict=True):
            labels, scores = ([label], [score]) if head.label_type == "string" else (label, score)
            assert_close(row[[self.vocabulary.index(each) for each in labels]], np.array(scores, float))

    def test_compares_texts_and_gives_their_tokens(self, head: Any) -> None:
        if not self.is_of_texts():
            pytest.skip("the head does not write texts")
        texts = [value for value in self.given if value is not None]
        quality, tokens = head.compare(texts, texts)
        assert len(tokens) == len(texts)
        assert all(type(token) is str for text in tokens for token in text)
        assert quality.tolist() == pytest.approx([1.0] * len(texts))

    def test_generates_ids_of_the_vocabulary_and_probabilities(self, head: Any) -> None:
        if not head.autoregressive:
            pytest.skip("the head does not generate")
        reading = keras.tree.map_structure(keras.ops.convert_to_tensor, self.inputs())
        texts = to_numpy(head.generate(reading))
        self._check_texts(texts, len(self.target_mask))
        assert_close(to_numpy(compiled(head.generate)(reading)), texts)

    @pytest.mark.parametrize("count", [1, 3])
    def test_candidates_are_as_many_texts_as_are_asked_for(self, head: Any, count: int) -> None:
        if not hasattr(head, "candidates"):
            pytest.skip("the head writes one text only")
        reading = keras.tree.map_structure(keras.ops.convert_to_tensor, self.inputs())
        texts = to_numpy(head.candidates(reading, count))
        self._check_texts(texts, len(self.target_mask), count)
        alone = to_numpy(head.candidates({name: value[1:2] for name, value in reading.items()}, count))
        assert (alone["ids"] == texts["ids"][1:2]).all(), "they depend on the record alone"

    def test_sampled_texts_are_one_hot_and_gradients_pass_through_them(self, head: Any) -> None:
        if not hasattr(head, "sample"):
            pytest.skip("no objective can read what it writes")
        reading = keras.tree.map_structure(keras.ops.convert_to_tensor, self.inputs())
        for seed in (None, keras.random.SeedGenerator(1)):

            def total(vector: Mapping[str, Any], seed: Any = seed) -> tuple[Any, Any]:
                sampled = head.sample({**reading, **vector}, seed)
                numbered = keras.ops.square(sampled - 0.5) * np.arange(sampled.shape[-1], dtype=np.float32)
                return keras.ops.sum(numbered), sampled

            sampled, by_source, _ = gradients(total, {"vector": reading["vector"]}, [])
            gradient, rows = by_source["vector"], RESERVED_IDS + len(self.vocabulary)
            assert sampled.shape == (len(self.target_mask), *self.spec()["ids"].shape, rows)
            np.testing.assert_allclose(sampled.max(-1), 1, atol=1e-5)
            np.testing.assert_allclose(sampled.sum(-1), 1, atol=1e-5)
            assert np.isfinite(gradient).all()
            assert gradient.any()

    def _check_texts(self, texts: Mapping[str, Any], *count: int) -> None:
        """Check that ids of texts are int32[*count, L] within the vocabulary, and that scores are probabilities."""
        assert set(texts) == {"ids", "score"}
        assert texts["ids"].shape == (*count, *self.spec()["ids"].shape)
        assert texts["ids"].dtype == np.int32
        assert ((texts["ids"] >= 0) & (texts["ids"] < RESERVED_IDS + len(self.vocabulary))).all()
        assert ((texts["score"] > 0) & (texts["score"] <= 1)).all()

    def _train(self, head: Any) -> dict[str, Any]:
        if head.autoregressive:
            return head(self.inputs(), self.targets(), training=True)
        return head(self.inputs(), training=True)

    def _loss_and_gradients(self, head: Any, targets: Mapping[str, np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """The loss per example, and the gradients of the total that training computes from it."""

        def total(_: Any) -> tuple[Any, Any]:
            predictions = head(self.inputs(), targets, training=False) if head.autoregressive else head(self.inputs())
            loss, mask = head.loss(predictions, targets), head.target_mask(targets)
            return keras.ops.sum(loss * mask) / keras.ops.maximum(keras.ops.sum(mask), 1.0), loss

        result, _, by_weight = gradients(total, {}, head.trainable_weights)
        return result, by_weight

    def _outcome(self, head: Any, network: keras.Model, targets: Mapping[str, np.ndarray]) -> Outcome:
        predictions = predict(network, self.inputs())
        trained = TrainedHead(head, self.fitted(), head.calibrate(predictions, targets))
        return outcome_of(trained, predictions, targets)

    @classmethod
    def _with_given(cls) -> dict[str, np.ndarray]:
        """The targets, with the given values, and with the texts if it is a text field."""
        given = np.full(len(cls.given), None, object)
        given[:] = cls.given
        text = {"text": np.array([value or "" for value in cls.given], object)} if cls.is_of_texts() else {}
        return {**cls.targets(), "given": given, **text}

    @classmethod
    def _absent(cls) -> dict[str, np.ndarray]:
        """Targets of records that all lack the field."""
        absent = {name: np.zeros_like(array) for name, array in cls._with_given().items() if name != "given"}
        return {**absent, "given": np.full(len(cls.given), None, object)}
