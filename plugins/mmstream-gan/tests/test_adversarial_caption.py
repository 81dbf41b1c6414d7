"""Discriminator and head each learn from their own half of the loss, and from nothing else."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from mmstream_gan import losses
from mmstream_gan.adversarial_caption import AdversarialCaption

from mmstream.interfaces import END, RESERVED_IDS

RECORDS, WIDTH, LENGTH, WORDS = 32, 6, 4, 5
ROWS = RESERVED_IDS + WORDS


def make(**parameters) -> AdversarialCaption:
    keras.utils.set_random_seed(3)
    given = {"units": 8, "hidden": [16], "spectral": False, **parameters}
    objective = AdversarialCaption(head="caption", target="text", field="image", **given)
    shapes = {"embeddings.image": (None, WIDTH), "sampled.caption": (None, LENGTH, ROWS)}
    objective.build({"present.image": (None,), "targets.text.ids": (None, LENGTH), **shapes})
    return objective


def batch(present=1.0, seed=0) -> dict[str, tf.Tensor]:
    """Each record's word is that of its embedding; the sampled ones are wrong."""
    random = np.random.default_rng(seed)
    words = random.integers(0, WORDS, RECORDS)
    vectors = np.eye(WIDTH)[words] + random.normal(0, 0.05, (RECORDS, WIDTH))
    ids = np.zeros((RECORDS, LENGTH), np.int64)
    ids[:, 0], ids[:, 1] = RESERVED_IDS + words, END
    sampled = ids.copy()
    sampled[:, 0] = RESERVED_IDS + (words + 1) % WORDS
    return {
        "embeddings.image": tf.constant(vectors, tf.float32),
        "present.image": tf.fill([RECORDS], np.float32(present)),
        "targets.text.ids": tf.constant(ids),
        "sampled.caption": tf.one_hot(sampled, ROWS),
    }


def gradients(objective, tensors):
    """Of the sampled text, the embeddings, and the discriminator's weights."""
    sources = [tensors["sampled.caption"], tensors["embeddings.image"]]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        loss = objective(tensors, training=True)
    weights = [weight.value for weight in objective.trainable_weights]
    return tape.gradient(loss, [*sources, *weights])


def trained(**parameters) -> AdversarialCaption:
    """Its discriminator alone has learnt."""
    objective, tensors = make(**parameters), batch()
    optimizer, weights = keras.optimizers.Adam(0.01), objective.trainable_weights
    optimizer.build(weights)
    step = tf.function(lambda: optimizer.apply(gradients(objective, tensors)[2:], weights))
    for _ in range(300):
        step()
    return objective


@pytest.mark.parametrize("form", ["non_saturating", "hinge"])
@pytest.mark.parametrize("spectral", [True, False])
def test_a_discriminator_learns_what_is_real_and_of_what(form, spectral):
    objective = trained(form=form, spectral=spectral)
    found = objective.progress(batch(seed=1))
    assert float(found["discriminator_accuracy"]) > 0.95
    other = batch(seed=1)
    other["embeddings.image"] = tf.roll(other["embeddings.image"], 1, axis=0)
    assert float(objective.progress(other)["discriminator_accuracy"]) < 0.8, "it looks at the embedding"


def test_the_head_is_led_to_what_the_discriminator_takes_for_real():
    objective, tensors = trained(feature_matching=0.0), batch()
    toward = -ops.convert_to_numpy(gradients(objective, tensors)[0])[:, 0, RESERVED_IDS:]
    true = tensors["targets.text.ids"].numpy()[:, 0] - RESERVED_IDS
    assert np.mean(toward.argmax(1) == true) > 0.8


def test_neither_trains_the_other():
    """The discriminator's gradient is that of its own loss, and embeddings have none."""
    objective, tensors = make(), batch()
    sampled, vectors, *weights = gradients(objective, tensors)
    assert vectors is None
    assert np.abs(sampled).max() > 0
    fixed = {**tensors, "sampled.caption": tf.stop_gradient(tensors["sampled.caption"])}
    objective.feature_matching = 0.0
    alone = gradients(objective, fixed)[2:]
    for weight, other in zip(weights, alone, strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-5, atol=1e-7)


def test_records_without_a_picture_or_a_text_do_not_count():
    objective, tensors = make(), batch()
    there = np.arange(RECORDS) % 2
    gaps = {**tensors, "present.image": tf.constant(there, tf.float32)}
    sampled = gradients(objective, gaps)[0].numpy()
    assert not sampled[there == 0].any()
    assert sampled[there == 1].any()
    nothing = {**tensors, "targets.text.ids": tf.zeros_like(tensors["targets.text.ids"])}
    assert float(objective(nothing, training=True)) == 0.0


def test_outside_training_it_counts_nothing():
    assert float(make()(batch(), training=False)) == 0.0


def test_progress_tells_how_many_sampled_texts_are_different():
    tensors = batch()
    assert float(make().progress(tensors)["unique"]) == pytest.approx(WORDS / RECORDS)
    tensors["sampled.caption"] = tf.repeat(tensors["sampled.caption"][:1], RECORDS, axis=0)
    assert float(make().progress(tensors)["unique"]) == pytest.approx(1 / RECORDS)


@pytest.mark.parametrize(
    ("form", "real", "fake", "generator"),
    [("non_saturating", np.log1p(np.exp(-2)), np.log1p(np.exp(2)), np.log1p(np.exp(-2))), ("hinge", 0.0, 3.0, -2.0)],
)
def test_the_losses_are_those_of_their_sources(form, real, fake, generator):
    logit = tf.constant([2.0])
    assert float(losses.of_real(form, logit)[0]) == pytest.approx(real, rel=1e-5)
    assert float(losses.of_fake(form, logit)[0]) == pytest.approx(fake, rel=1e-5)
    assert float(losses.of_generator(form, logit)[0]) == pytest.approx(generator, rel=1e-5)


def test_feature_matching_compares_means_over_the_rows_that_count():
    real, fake = tf.constant([[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]), tf.constant([[0.0, 0.0], [2.0, 2.0], [50.0, 0.0]])
    assert float(losses.feature_matching(real, fake, tf.constant([1.0, 1.0, 0.0]))) == pytest.approx((1 + 4) / 2)
