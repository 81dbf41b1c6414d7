"""The contract of a head."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import pytest

from mmstream.interfaces import RESERVED_IDS, Classes, Texts
from mmstream.models.writing import Generation
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
        target: {tensor: rows} of that field as lists, "present" included; for a field of texts also "text". At least
            one row has no value, and at least one has one that can be learnt from.
        known: for each row of `target`, whether it can be learnt from: 1 or 0.
    """

    kind = "head"
    target: ClassVar[Mapping[str, Any]]
    known: ClassVar[Sequence[int]]

    @classmethod
    def inputs(cls) -> dict[str, np.ndarray]:
        """A reading, of as many rows as the target has."""
        random, count = np.random.default_rng(11), len(cls.known)
        mask = (random.uniform(size=(count, _TOKENS)) < 0.6).astype(np.float32)
        mask[:, 0] = 1
        return {
            "tokens": random.normal(size=(count, _TOKENS, WIDTH)).astype(np.float32),
            "mask": mask,
            "vector": random.normal(size=(count, WIDTH)).astype(np.float32),
            "present": np.ones(count, np.float32),
        }

    @classmethod
    def targets(cls) -> dict[str, np.ndarray]:
        """The target's tensors, as training sees them."""
        spec = {**cls.spec(), "present": ((), "float32")}
        return {name: np.array(cls.target[name], dtype) for name, (_, dtype) in spec.items()}

    @classmethod
    def forced_targets(cls) -> dict[str, np.ndarray] | None:
        """The targets, for a head that sees them in training."""
        return cls.targets() if cls.component().forced else None

    @classmethod
    def outputs(cls, layer: Any, inputs: Any) -> dict[str, Any]:
        """What the network that labels gives: predictions, or what a forced head generates."""
        if not cls.component().forced:
            return layer(inputs)
        layer(inputs, symbols_of(cls.targets(), "target-"))  # the composer, too, first connects it for training
        return Generation(layer)(inputs)

    @classmethod
    def continuous(cls, outputs: Any) -> Any:
        """Predictions; of a forced head its logits, for ids that were generated may flip on a near tie."""
        return {"logits": outputs["forced"]["logits"]} if cls.component().forced else outputs

    @pytest.fixture(scope="class")
    @classmethod
    def head(cls) -> Any:
        """The layer, in float32."""
        return cls.make()[0]

    def test_an_unknown_target_is_known_to_be_so(self, head: Any) -> None:
        assert to_numpy(head.known(self.targets())).tolist() == list(self.known)
        absent = {name: np.zeros_like(array) for name, array in self.targets().items()}
        assert not to_numpy(head.known(absent)).any(), "an absent field is zeros, and present = 0"

    @pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
    def test_predictions_and_losses_are_float32(self, policy: str) -> None:
        head, _ = self.make(policy)
        predictions = self._train(head)
        loss = head.loss(predictions, self.targets())
        assert {keras.backend.standardize_dtype(value.dtype) for value in predictions.values()} == {"float32"}
        assert keras.backend.standardize_dtype(loss.dtype) == "float32"
        assert keras.backend.standardize_dtype(head.known(self.targets()).dtype) == "float32"
        assert tuple(loss.shape) == (len(self.known),)

    def test_progress_is_a_finite_float32_of_each_record_whatever_is_known(self, head: Any) -> None:
        assert head.progress_metric.isidentifier()
        absent = {name: np.zeros_like(array) for name, array in self.targets().items()}
        for targets in (self.targets(), absent):
            progress = head.progress(self._train(head), targets)
            assert keras.backend.standardize_dtype(progress.dtype) == "float32"
            assert tuple(progress.shape) == (len(self.known),)
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
            predictions = head(reading, targets, training=False) if head.forced else head(reading, training=False)
            return to_numpy(head.loss(predictions, targets))

        whole = loss(slice(None))
        for row in range(len(self.known)):
            assert_close(loss(slice(row, row + 1)), whole[row : row + 1])

    def test_what_stands_in_masked_tokens_does_not_matter(self, network: keras.Model) -> None:
        reading = self.inputs()
        reading["tokens"][reading["mask"] == 0] = 1e3
        found, expected = (
            predict(network, reading, self.forced_targets()),
            predict(network, self.inputs(), self.forced_targets()),
        )
        assert_close(found, expected)

    def test_every_record_gets_a_label_and_a_score_of_the_declared_types(self, head: Any, network: keras.Model) -> None:
        predictions = predict(network, self.inputs())
        calibration = json.loads(json.dumps(head.calibrate(predictions, self._with_text())))
        absent = predict(network, {name: np.zeros_like(array) for name, array in self.inputs().items()})
        for outputs in (predictions, absent):
            decoded = head.decode(outputs, self.fitted(), calibration)
            assert len(decoded) == len(self.known)
            for label, score in decoded:
                assert _IS_LABEL[head.label_type](label), label
                assert _IS_LABEL[head.score_type](score), score
                assert not isinstance(score, list) or len(score) == len(label)
                assert np.isfinite(score).all()

    def test_metrics_are_numbers_and_there_are_none_without_known_targets(
        self, head: Any, network: keras.Model
    ) -> None:
        predictions, targets = predict(network, self.inputs()), self._with_text()
        calibration = head.calibrate(predictions, targets)
        metrics = head.evaluate(predictions, targets, self.fitted(), calibration)
        assert head.metric in metrics
        assert all(isinstance(value, float) and np.isfinite(value) for value in metrics.values()), metrics
        absent = {name: np.zeros_like(array) for name, array in targets.items()}
        assert head.evaluate(predictions, absent, self.fitted(), head.calibrate(predictions, absent)) == {}

    def test_tells_what_was_wanted_and_what_was_given(self, head: Any, network: keras.Model) -> None:
        predictions, targets = predict(network, self.inputs()), self._with_text()
        calibration = head.calibrate(predictions, targets)
        outcome = head.outcome(predictions, targets, self.fitted(), calibration)
        assert 0 < len(outcome.rows) <= int((targets["present"] > 0).sum())
        assert (targets["present"][outcome.rows] > 0).all()
        assert len(outcome.wanted) == len(outcome.found) == len(outcome.rows)
        if isinstance(outcome, Classes):
            assert outcome.scores.shape == outcome.wanted.shape == outcome.found.shape
            assert outcome.scores.shape[1] == len(outcome.names)
            assert ((outcome.scores >= 0) & (outcome.scores <= 1)).all()
            assert not outcome.exclusive or (outcome.wanted.sum(1) == 1).all()
        if isinstance(outcome, Texts):
            assert len(outcome.tokens) == len(outcome.quality) == len(outcome.rows)
        absent = {**targets, "present": np.zeros_like(targets["present"])}
        assert len(head.outcome(predictions, absent, self.fitted(), calibration).rows) == 0

    def test_generates_ids_of_the_vocabulary_and_probabilities(self, head: Any) -> None:
        if not head.forced:
            pytest.skip("the head does not generate")
        reading = keras.tree.map_structure(keras.ops.convert_to_tensor, self.inputs())
        found = to_numpy(head.generate(reading))
        assert set(found) == {"ids", "score"}
        assert found["ids"].shape == (len(self.known), *self.spec()["ids"].shape)
        assert found["ids"].dtype == np.int32
        assert ((found["ids"] >= 0) & (found["ids"] < RESERVED_IDS + len(self.vocabulary))).all()
        assert ((found["score"] > 0) & (found["score"] <= 1)).all()
        assert_close(to_numpy(compiled(head.generate)(reading)), found)

    @pytest.mark.parametrize("count", [1, 3])
    def test_candidates_are_as_many_texts_as_are_asked_for(self, head: Any, count: int) -> None:
        if not hasattr(head, "candidates"):
            pytest.skip("the head writes one text only")
        reading = keras.tree.map_structure(keras.ops.convert_to_tensor, self.inputs())
        found = to_numpy(head.candidates(reading, count))
        assert set(found) == {"ids", "score"}
        assert found["ids"].shape == (len(self.known), count, *self.spec()["ids"].shape)
        assert found["ids"].dtype == np.int32
        assert ((found["ids"] >= 0) & (found["ids"] < RESERVED_IDS + len(self.vocabulary))).all()
        assert ((found["score"] > 0) & (found["score"] <= 1)).all()
        alone = to_numpy(head.candidates({name: value[1:2] for name, value in reading.items()}, count))
        assert (alone["ids"] == found["ids"][1:2]).all(), "they depend on the record alone"

    def test_drawn_texts_are_one_hot_and_gradients_pass_through_them(self, head: Any) -> None:
        if not hasattr(head, "draw"):
            pytest.skip("no objective can read what it writes")
        reading = keras.tree.map_structure(keras.ops.convert_to_tensor, self.inputs())
        for seed in (None, keras.random.SeedGenerator(1)):

            def total(vector: Mapping[str, Any], seed: Any = seed) -> tuple[Any, Any]:
                drawn = head.draw({**reading, **vector}, seed)
                numbered = keras.ops.square(drawn - 0.5) * np.arange(drawn.shape[-1], dtype=np.float32)
                return keras.ops.sum(numbered), drawn

            found = gradients(total, {"vector": reading["vector"]}, [])
            drawn, gradient = found.result, found.sources["vector"]
            assert drawn.shape == (len(self.known), *self.spec()["ids"].shape, RESERVED_IDS + len(self.vocabulary))
            np.testing.assert_allclose(drawn.max(-1), 1, atol=1e-5)
            np.testing.assert_allclose(drawn.sum(-1), 1, atol=1e-5)
            assert np.isfinite(gradient).all()
            assert gradient.any()

    def _train(self, head: Any) -> dict[str, Any]:
        if head.forced:
            return head(self.inputs(), self.targets(), training=True)
        return head(self.inputs(), training=True)

    def _loss_and_gradients(self, head: Any, targets: Mapping[str, np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """The loss per example, and the gradients of the total that training makes of it."""

        def total(_: Any) -> tuple[Any, Any]:
            predictions = head(self.inputs(), targets, training=False) if head.forced else head(self.inputs())
            loss = head.loss(predictions, targets)
            weight = head.known(targets)
            return keras.ops.sum(loss * weight) / keras.ops.maximum(keras.ops.sum(weight), 1.0), loss

        found = gradients(total, {}, head.trainable_weights)
        return found.result, found.weights

    @classmethod
    def _with_text(cls) -> dict[str, np.ndarray]:
        text = {"text": np.array(cls.target["text"])} if "text" in cls.target else {}
        return {**cls.targets(), **text}
