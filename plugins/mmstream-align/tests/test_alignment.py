"""The objectives compute what their formulas say, and training on them brings a record's fields together."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from mmstream_align.contrastive import Contrastive
from mmstream_align.matching import Matching
from mmstream_align.pairs import unit
from mmstream_align.sigmoid_contrastive import SigmoidContrastive

FIELDS = ("image", "sound", "text")
MAKERS = {
    "contrastive": lambda *fields: Contrastive(fields=list(fields), temperature=0.2),
    "sigmoid_contrastive": lambda *fields: SigmoidContrastive(fields=list(fields), temperature=0.2, bias=-3.0),
    "matching": lambda *fields: Matching(fields=list(fields)),
}
every_objective = pytest.mark.parametrize("name", MAKERS)


def make(name: str, *fields: str) -> Any:
    """Of two fields unless they are named."""
    keras.utils.set_random_seed(5)
    objective = MAKERS[name](*(fields or FIELDS[:2]))
    objective.build({})
    return objective


def batch(*embeddings: Any, present: Any = None) -> dict[str, Any]:
    """Tensors of as many fields as there are embeddings; all present unless `present` says otherwise."""
    tensors = {}
    for number, (field, values) in enumerate(zip(FIELDS, embeddings, strict=False)):
        values = np.asarray(values, np.float32)
        there = np.ones(len(values)) if present is None else np.asarray(present)[number]
        tensors[f"embeddings.{field}"] = ops.convert_to_tensor(values)
        tensors[f"present.{field}"] = ops.convert_to_tensor(there.astype(np.float32))
    return tensors


def drawn(fields: int = 2, rows: int = 7, width: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(fields, rows, width)).astype(np.float32)


def loss_of(objective: Any, tensors: dict[str, Any]) -> float:
    return float(ops.convert_to_numpy(objective(tensors, training=True)))


def gradients(objective: Any, tensors: dict[str, Any], **options: Any) -> list[np.ndarray]:
    """Of the embeddings, then of the weights, by a compiled function."""
    sources = [value for name, value in tensors.items() if name.startswith("embeddings.")]

    @tf.function(**options)
    def compute() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(sources)
            loss = objective(tensors, training=True)
        weights = [weight.value for weight in objective.trainable_weights]
        return tape.gradient(loss, [*sources, *weights], unconnected_gradients="zero")

    return [ops.convert_to_numpy(value) for value in compute()]


# The formulas, written down once more in numpy, record by record


def softplus(x: float) -> float:
    return max(x, 0.0) + float(np.log1p(np.exp(-abs(x))))


def unit_rows(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)


def expected_contrastive(objective: Any, u: np.ndarray, v: np.ndarray, both: list[int]) -> float:
    scale = np.exp(float(objective.log_scale))
    each = []
    for i in both:
        for queries, answers in ((u, v), (v, u)):
            scores = [scale * queries[i] @ answers[j] for j in both]
            each.append(np.log(np.sum(np.exp(scores))) - scale * queries[i] @ answers[i])
    return float(np.mean(each))


def expected_sigmoid_contrastive(objective: Any, u: np.ndarray, v: np.ndarray, both: list[int]) -> float:
    scale, bias = np.exp(float(objective.log_scale)), float(objective.learnt_bias)
    pairs = itertools.product(both, both)
    return sum(softplus((-1 if i == j else 1) * (scale * u[i] @ v[j] + bias)) for i, j in pairs) / len(both)


def expected_matching(objective: Any, u: np.ndarray, v: np.ndarray, both: list[int]) -> float:
    scale, bias = np.exp(float(objective.log_scale)), float(objective.bias)

    def logit(i: int, j: int) -> float:
        return float(scale * u[i] @ v[j] + bias)

    each = []
    for i in both:
        each.append(softplus(-logit(i, i)))
        wrong = [j for j in both if max(u[i] @ u[j], v[i] @ v[j]) <= 1 - 1e-4]
        if wrong:
            each.append(softplus(logit(i, max(wrong, key=lambda j, i=i: u[i] @ v[j]))))
            each.append(softplus(logit(max(wrong, key=lambda j, i=i: u[j] @ v[i]), i)))
    return float(np.mean(each))


EXPECTED = {
    "contrastive": expected_contrastive,
    "sigmoid_contrastive": expected_sigmoid_contrastive,
    "matching": expected_matching,
}


@every_objective
@pytest.mark.parametrize("fields", [2, 3])
def test_the_loss_is_what_the_formula_gives_where_records_are_absent(name, fields):
    embeddings = drawn(fields)
    embeddings[1, 4] = embeddings[1, 2]  # the same sound twice
    present = np.array([[1, 1, 1, 1, 1, 0, 1], [1, 1, 1, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1]])[:fields]
    objective = make(name, *FIELDS[:fields])
    expected = [
        EXPECTED[name](
            objective, unit_rows(embeddings[a]), unit_rows(embeddings[b]), list(np.flatnonzero(present[a] * present[b]))
        )
        for a, b in itertools.combinations(range(fields), 2)
    ]
    found = loss_of(objective, batch(*embeddings, present=present))
    np.testing.assert_allclose(found, np.mean(expected), rtol=1e-5)


@every_objective
def test_what_stands_where_a_record_is_absent_has_no_effect(name):
    objective, embeddings = make(name), drawn()
    present = np.array([[1, 1, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1, 1]])
    before = loss_of(objective, batch(*embeddings, present=present))
    embeddings[:, [2, 4]] = 50 * drawn(rows=2, seed=1)
    assert loss_of(objective, batch(*embeddings, present=present)) == pytest.approx(before, rel=1e-6)
    kept = [0, 1, 3, 5, 6]
    assert loss_of(objective, batch(*embeddings[:, kept])) == pytest.approx(before, rel=1e-6)
    for gradient in gradients(objective, batch(*embeddings, present=present))[:2]:
        assert not gradient[[2, 4]].any()


@every_objective
def test_fields_that_agree_cost_less_than_fields_that_are_shuffled(name):
    objective, one = make(name), drawn()[0]
    assert loss_of(objective, batch(one, 3 * one)) < loss_of(objective, batch(one, np.roll(one, 1, axis=0)))


@every_objective
def test_a_field_named_twice_is_an_error(name):
    with pytest.raises(ValueError, match="is aligned with others; found text, text"):
        MAKERS[name]("text", "text")


@every_objective
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_embeddings_without_a_direction_give_no_gradient_but_finite_ones_to_others(name, jit_compile, rows):
    objective, embeddings = make(name), drawn(rows=rows)
    embeddings[0, 0] = 0
    embeddings[1, -1] = 1e-30
    found = gradients(objective, batch(*embeddings), jit_compile=jit_compile)
    for values in found:
        assert np.isfinite(values).all()
        assert np.abs(values).max() < 100
    assert not found[0][0].any()
    assert not found[1][-1].any()


def test_a_batch_without_any_direction_has_finite_gradients():
    for name in MAKERS:
        for values in gradients(make(name), batch(*np.zeros((2, 4, 6))), jit_compile=True):
            assert np.isfinite(values).all()


# Each by itself


def test_sigmoid_contrastive_starts_as_in_its_source():
    objective = SigmoidContrastive(fields=["image", "sound"])
    objective.build({})
    agreeing, apart = ([[1, 0]], [[1, 0]]), ([[1, 0]], [[0, 1]])
    assert loss_of(objective, batch(*agreeing)) == pytest.approx(np.log(2), rel=1e-5)  # 10 · 1 − 10 = 0
    assert loss_of(objective, batch(*apart)) == pytest.approx(10 + np.log1p(np.exp(-10)), rel=1e-6)


def test_sigmoid_contrastive_stays_finite_where_it_is_very_wrong():
    objective = SigmoidContrastive(fields=["image", "sound"], temperature=1e-6, bias=1e4)
    objective.build({})
    embeddings = drawn()
    assert np.isfinite(loss_of(objective, batch(*embeddings)))
    assert all(np.isfinite(values).all() for values in gradients(objective, batch(*embeddings)))


def test_matching_takes_the_hardest_wrong_pairs():
    angles = np.deg2rad([[0, 40, 180], [10, 60, 190]])
    u, v = np.stack([np.cos(angles), np.sin(angles)], axis=-1)

    def logit(i, j):
        return 10 * u[i] @ v[j]

    wrong = [(0, 1), (1, 0), (2, 1)]  # for each u, with 60°, 30° and 120° between
    wrong += [(1, 0), (0, 1), (1, 2)]  # for each v, with 30°, 60° and 150°
    expected = [softplus(-logit(i, i)) for i in range(3)] + [softplus(logit(i, j)) for i, j in wrong]
    assert loss_of(make("matching"), batch(u, v)) == pytest.approx(np.mean(expected), rel=1e-5)


def test_matching_gives_all_members_of_its_pairs_a_gradient():
    objective, embeddings, step = make("matching"), drawn(rows=3).astype(np.float64), 1e-3
    found = gradients(objective, batch(*embeddings))[:2]
    for place in np.ndindex(embeddings.shape):
        shift = np.zeros_like(embeddings)
        shift[place] = step
        up, down = (loss_of(objective, batch(*(embeddings + sign * shift))) for sign in (1, -1))
        assert found[place[0]][place[1:]] == pytest.approx((up - down) / (2 * step), abs=2e-3)


@pytest.mark.parametrize("field", [0, 1])
def test_matching_takes_no_record_for_wrong_that_agrees_in_a_field(field):
    embeddings = drawn(rows=2)
    embeddings[field, 1] = 2 * embeddings[field, 0]
    objective = make("matching")
    alone = [loss_of(objective, batch(*embeddings[:, [n]])) for n in (0, 1)]
    assert loss_of(objective, batch(*embeddings)) == pytest.approx(np.mean(alone), rel=1e-6)


def test_matching_takes_for_wrong_what_only_nearly_agrees():
    embeddings = drawn(rows=2)
    embeddings[:, 1] = embeddings[:, 0]
    embeddings[:, 1, 0] += 0.1
    objective = make("matching")
    alone = [loss_of(objective, batch(*embeddings[:, [n]])) for n in (0, 1)]
    assert abs(loss_of(objective, batch(*embeddings)) - np.mean(alone)) > 1


def test_matching_counts_only_the_own_pair_of_a_record_alone():
    u, v = drawn(rows=1)
    cosine = float(unit_rows(u)[0] @ unit_rows(v)[0])
    assert loss_of(make("matching"), batch(u, v)) == pytest.approx(softplus(-10 * cosine), rel=1e-5)


# Training


class Embeddings(keras.Model):
    """Free embeddings of two fields, trained by an objective."""

    def __init__(self, objective: Any, rows: int, width: int) -> None:
        super().__init__()
        self.objective = objective
        initial = keras.initializers.RandomNormal(seed=3)
        self.tables = [self.add_weight(shape=(rows, width), initializer=initial, name=f) for f in FIELDS[:2]]

    def call(self, rows: Any, training: bool | None = None) -> Any:
        return [ops.take(table, rows, axis=0) for table in self.tables]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        tensors = {f"embeddings.{field}": values for field, values in zip(FIELDS, y_pred, strict=False)}
        return self.objective({**tensors, **{f"present.{f}": ops.ones_like(y_pred[0][:, 0]) for f in FIELDS[:2]}})


@every_objective
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_training_brings_the_fields_of_a_record_together(name, jit_compile):
    objective, rows, steps = make(name), 10, 300
    model = Embeddings(objective, rows, 8)
    model.compile(optimizer=keras.optimizers.Adam(0.05), jit_compile=jit_compile)
    tensors = batch(*model.tables)
    before = loss_of(objective, tensors)
    model.fit(np.tile(np.arange(rows), steps), batch_size=rows, shuffle=False, verbose=0)
    assert loss_of(objective, batch(*model.tables)) < before / 5
    u, v = (unit(table) for table in model.tables)
    cosines = ops.convert_to_numpy(ops.matmul(u, ops.transpose(v)))
    assert (cosines.argmax(0) == np.arange(rows)).all()
    assert (cosines.argmax(1) == np.arange(rows)).all()


def test_matching_brings_together_what_begins_as_opposites():
    model, rows = Embeddings(make("matching"), 10, 8), np.arange(10)
    model.tables[1].assign(-model.tables[0])
    model.compile(optimizer=keras.optimizers.Adam(0.05))
    model.fit(np.tile(rows, 300), batch_size=10, shuffle=False, verbose=0)
    u, v = (unit(table) for table in model.tables)
    assert (ops.convert_to_numpy(ops.matmul(u, ops.transpose(v))).argmax(0) == rows).all()
