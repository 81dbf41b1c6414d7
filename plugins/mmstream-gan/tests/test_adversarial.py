"""A generator learns to make the embedding of a field from those of others, and a discriminator to find it out."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from mmstream_gan.adversarial import Adversarial

RECORDS, WIDTH = 64, 4


def make(**parameters) -> Adversarial:
    keras.utils.set_random_seed(3)
    objective = Adversarial(fields=["image", "text"], hidden=16, **{"spectral": False, **parameters})
    objective.build({f"{kind}.{f}": (None, WIDTH) for kind in ("embeddings", "present") for f in objective.fields})
    return objective


def batch(seed=0, present=(1.0, 1.0)) -> dict[str, tf.Tensor]:
    """The text's embedding follows from the image's."""
    image = np.random.default_rng(seed).normal(size=(RECORDS, WIDTH))
    text = np.tanh(image[:, ::-1]) + 1
    found = {}
    for name, vectors, there in (("image", image, present[0]), ("text", text, present[1])):
        found[f"embeddings.{name}"] = tf.constant(vectors, tf.float32)
        found[f"present.{name}"] = tf.constant(np.broadcast_to(there, RECORDS), tf.float32)
    return found


def gradients(objective, tensors, weights):
    sources = [tensors["embeddings.image"], tensors["embeddings.text"]]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        loss = objective(tensors, training=True)
    return tape.gradient(loss, [*sources, *(weight.value for weight in weights)])


def trained(objective, steps=600) -> Adversarial:
    weights, tensors = objective.trainable_weights, batch()
    optimizer = keras.optimizers.Adam(0.005)
    optimizer.build(weights)
    step = tf.function(lambda: optimizer.apply(gradients(objective, tensors, weights)[2:], weights))
    for _ in range(steps):
        step()
    return objective


@pytest.mark.parametrize("form", ["non_saturating", "hinge"])
def test_the_generator_learns_what_a_field_follows_from(form):
    before = float(make(form=form).progress(batch(1))["distance"])
    after = trained(make(form=form)).progress(batch(1))
    assert float(after["distance"]) < before / 3


def test_without_a_distance_it_still_comes_near_what_is_real():
    def gap(objective):
        tensors = batch(1)
        vectors = {name: tensors[f"embeddings.{name}"] for name in objective.fields}
        there = {name: tensors[f"present.{name}"] for name in objective.fields}
        made = ops.convert_to_numpy(objective.generator(vectors, there)["text"])
        return np.abs(made.mean(0) - vectors["text"].numpy().mean(0)).mean()

    assert gap(trained(make(distance=0.0))) < gap(make(distance=0.0)) / 2


@pytest.mark.slow
def test_a_discriminator_that_is_alone_finds_it_out():
    objective = make(discriminator=[32])
    weights = [weight for each in objective.discriminators.values() for weight in each.trainable_weights]
    optimizer = keras.optimizers.Adam(0.01)
    for _ in range(200):
        optimizer.apply(gradients(objective, batch(), weights)[2:], weights)
    assert float(objective.progress(batch(1))["discriminator_accuracy"]) > 0.9


def test_embeddings_are_taken_as_they_are():
    objective = make()
    assert gradients(objective, batch(), objective.trainable_weights)[:2] == [None, None]


def test_only_records_that_have_the_field_and_another_one_count():
    there = np.arange(RECORDS) % 2
    objective, tensors = make(), batch(present=(1.0, there))
    chosen = {name: tf.boolean_mask(value, there) for name, value in tensors.items()}
    assert float(objective(tensors)) == pytest.approx(float(objective(chosen)), rel=1e-5)
    assert float(objective(batch(present=(1.0, 0.0)), training=True)) == 0.0


def test_what_it_makes_of_a_field_does_not_depend_on_that_field():
    objective, tensors = make(), batch()
    vectors = {name: tensors[f"embeddings.{name}"] for name in objective.fields}
    there = {name: tensors[f"present.{name}"] for name in objective.fields}
    made = objective.generator(vectors, there)["text"]
    other = objective.generator({**vectors, "text": vectors["text"] + 1}, {**there, "text": there["text"] * 0})["text"]
    np.testing.assert_array_equal(made, other)


def test_outside_training_the_distance_alone_counts():
    objective = make(distance=2.0)
    assert float(objective(batch())) == pytest.approx(2 * float(objective.progress(batch())["distance"]), rel=1e-6)
