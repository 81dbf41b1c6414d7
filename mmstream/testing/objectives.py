"""The contract of an objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import pytest

from mmstream.plugins import registry
from mmstream.testing import fresh
from mmstream.testing.backend import gradients
from mmstream.testing.network import ROWS, WIDTH, LayerContract, assert_finite, paths, to_numpy

_KINDS = ("embeddings", "present", "fields", "targets", "heads", "sampled", "fused")


class ObjectiveContract(LayerContract):
    """An objective's loss is finite whichever fields are absent, and its weights are restored when training continues.

    Attributes:
        tensors: {name: rows} of what the loss reads, as lists; "embeddings.<field>", "present.<field>" and "fused"
            are random by default. All have five rows.
    """

    kind = "objective"
    tensors: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def sizes(cls) -> dict[str, Any]:
        """No arguments: mmstream passes none."""
        return {}

    @classmethod
    def connect(cls, layer: Any) -> None:
        """Build it from shapes alone, as training does before the first batch."""
        layer.build(_shapes(cls.needed(layer.needs())))

    @classmethod
    def needed(cls, needs: Sequence[str]) -> dict[str, np.ndarray]:
        """The tensors of a batch; the embedding of an absent field is zero, as in a network."""
        random = np.random.default_rng(13)
        present = {name: (random.uniform(size=ROWS) < 0.7).astype(np.float32) for name in sorted(needs)}
        tensors = {}
        for name in needs:
            kind, _, field = name.partition(".")
            there = present.get(f"present.{field}", np.ones(ROWS, np.float32))
            if name in cls.tensors:
                tensors[name] = np.array(cls.tensors[name])
            elif kind == "present":
                tensors[name] = there
            else:
                tensors[name] = random.normal(size=(ROWS, WIDTH)).astype(np.float32) * there[:, None]
        return tensors

    @pytest.fixture(scope="class")
    @classmethod
    def objective(cls) -> Any:
        """The layer, in float32."""
        return cls.make()[0]

    def test_needs_tensors_that_a_network_may_have(self, objective: Any) -> None:
        needs = objective.needs()
        assert needs
        assert {name.partition(".")[0] for name in needs} <= set(_KINDS)
        random = ("embeddings.", "present.", "fused")
        assert [name for name in needs if not name.startswith(random) and name not in self.tensors] == []

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

    def test_its_progress_metrics_are_finite_float32_numbers(self, objective: Any) -> None:
        tensors = self.needed(objective.needs())
        names = getattr(objective, "progress_metrics", ())
        for batch in (tensors, {name: np.zeros_like(value) for name, value in tensors.items()}) if names else ():
            metrics = objective.progress(batch)
            assert set(metrics) == set(names)
            assert {keras.backend.standardize_dtype(value.dtype) for value in metrics.values()} == {"float32"}
            assert_finite(to_numpy(metrics))

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
        loss, restored = fresh.call(resume, self.kind, self.name, config, path, tensors)
        assert restored == paths(objective)
        np.testing.assert_allclose(loss, to_numpy(objective(tensors, training=False)), rtol=1e-6, atol=1e-6)


def resume(kind: str, name: str, config: Any, path: str, tensors: Any) -> tuple[np.ndarray, list[str]]:
    """Restore a new objective from a checkpoint; returns its loss and the paths of its weights."""
    registry.find(kind, name)
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

    loss, by_source, by_weight = gradients(total, tensors, objective.trainable_weights)
    return [loss, *by_source.values(), *by_weight]


def _in_bfloat16(name: str, value: np.ndarray) -> Any:
    """Embeddings in bfloat16, as in a network of mixed precision; tensors that come from the data unchanged."""
    computed = name.startswith(("embeddings.", "fused"))
    return keras.ops.cast(value, "bfloat16") if computed else keras.ops.convert_to_tensor(value)
