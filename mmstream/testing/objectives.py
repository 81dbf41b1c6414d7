"""The contract of an objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import pytest

from mmstream import plugins
from mmstream.testing import fresh
from mmstream.testing.backend import gradients
from mmstream.testing.network import ROWS, WIDTH, LayerContract, assert_finite, paths, to_numpy

_KINDS = ("embeddings", "present", "fields", "targets", "heads", "drawn", "fused")


class ObjectiveContract(LayerContract):
    """An objective gives a finite loss whatever is absent, and finds its weights again when training is resumed.

    Attributes:
        tensors: {name: rows} of what it needs, as lists; "embeddings.<field>", "present.<field>" and "fused" are drawn
            at random where they are not given. All have five rows.
    """

    kind = "objective"
    tensors: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def sizes(cls) -> dict[str, Any]:
        """Nothing is handed over."""
        return {}

    @classmethod
    def connect(cls, layer: Any) -> None:
        """Training builds the objectives before it has seen a batch."""
        layer.build(_shapes(cls.needed(layer.needs())))

    @classmethod
    def needed(cls, needs: Sequence[str]) -> dict[str, np.ndarray]:
        """The tensors of a batch; an absent record's embedding is zero, as in the shared space."""
        random = np.random.default_rng(13)
        present = {name: (random.uniform(size=ROWS) < 0.7).astype(np.float32) for name in sorted(needs)}
        found = {}
        for name in needs:
            kind, _, field = name.partition(".")
            there = present.get(f"present.{field}", np.ones(ROWS, np.float32))
            if name in cls.tensors:
                found[name] = np.array(cls.tensors[name])
            elif kind == "present":
                found[name] = there
            else:
                found[name] = random.normal(size=(ROWS, WIDTH)).astype(np.float32) * there[:, None]
        return found

    @pytest.fixture(scope="class")
    @classmethod
    def objective(cls) -> Any:
        """The layer, in float32."""
        return cls.make()[0]

    def test_needs_tensors_that_a_network_may_have(self, objective: Any) -> None:
        needs = objective.needs()
        assert needs
        assert {name.partition(".")[0] for name in needs} <= set(_KINDS)
        drawn = ("embeddings.", "present.", "fused")
        assert [name for name in needs if not name.startswith(drawn) and name not in self.tensors] == []

    @pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
    def test_gives_one_finite_float32(self, policy: str) -> None:
        objective, _ = self.make(policy)
        tensors = self.needed(objective.needs())
        if policy != "float32":
            tensors = {name: _in_bfloat16(name, value) for name, value in tensors.items()}
        loss = objective(tensors, training=True)
        assert tuple(loss.shape) == ()
        assert keras.backend.standardize_dtype(loss.dtype) == "float32"
        assert_finite(to_numpy(loss))

    def test_its_figures_are_finite_float32_numbers(self, objective: Any) -> None:
        tensors = self.needed(objective.needs())
        named = getattr(objective, "progress_metrics", ())
        for batch in (tensors, {name: np.zeros_like(value) for name, value in tensors.items()}) if named else ():
            found = objective.progress(batch)
            assert set(found) == set(named)
            assert {keras.backend.standardize_dtype(value.dtype) for value in found.values()} == {"float32"}
            assert_finite(to_numpy(found))

    def test_loss_and_gradients_are_finite_where_no_record_is_present(self, objective: Any) -> None:
        tensors = {name: np.zeros_like(value) for name, value in self.needed(objective.needs()).items()}
        assert_finite(_loss_and_gradients(objective, tensors))

    def test_loss_and_gradients_are_finite_where_one_record_is_alone(self, objective: Any) -> None:
        assert_finite(_loss_and_gradients(objective, {k: v[:1] for k, v in self.needed(objective.needs()).items()}))

    def test_loss_and_gradients_are_finite_where_only_some_fields_are_present(self, objective: Any) -> None:
        assert_finite(_loss_and_gradients(objective, self.needed(objective.needs())))

    def test_a_fresh_process_finds_its_weights_again(self, objective: Any, tmp_path: Path) -> None:
        path = str(tmp_path / "checkpoint.weights.h5")
        _Training(objective).save_weights(path)
        tensors = self.needed(objective.needs())
        config = keras.saving.serialize_keras_object(objective)
        loss, found = fresh.call(resume, self.kind, self.name, config, path, tensors)
        assert found == paths(objective)
        np.testing.assert_allclose(loss, to_numpy(objective(tensors, training=False)), rtol=1e-6, atol=1e-6)


def resume(kind: str, name: str, config: Any, path: str, tensors: Any) -> tuple[np.ndarray, list[str]]:
    """The loss and the weights' paths of an objective that is made anew and restored from a checkpoint."""
    plugins.find(kind, name)
    objective = keras.saving.deserialize_keras_object(config, safe_mode=True)
    if not objective.built:
        objective.build(_shapes(tensors))
    _Training(objective).load_weights(path)
    return to_numpy(objective(tensors, training=False)), paths(objective)


def _shapes(tensors: Mapping[str, np.ndarray]) -> dict[str, tuple[int | None, ...]]:
    return {name: (None, *value.shape[1:]) for name, value in tensors.items()}


class _Training(keras.Model):
    """Holds an objective as training does."""

    def __init__(self, objective: Any) -> None:
        super().__init__()
        self.objective = objective
        self.built = True


def _loss_and_gradients(objective: Any, tensors: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    def total(tensors: Mapping[str, Any]) -> tuple[Any, Any]:
        loss = objective(tensors, training=True)
        return loss, loss

    found = gradients(total, tensors, objective.trainable_weights)
    return [found.result, *found.sources.values(), *found.weights]


def _in_bfloat16(name: str, value: np.ndarray) -> Any:
    """Embeddings as a network of mixed precision gives them; what comes from the data stays as it is."""
    computed = name.startswith(("embeddings.", "fused"))
    return keras.ops.cast(value, "bfloat16") if computed else keras.ops.convert_to_tensor(value)
