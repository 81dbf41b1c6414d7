"""A network of every kind of part is composed and learns, on whichever backend Keras has."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import small_network

from mmstream.models.compose import SAMPLED
from mmstream.models.loss_weights import WeighLosses
from mmstream.models.multimodal_model import MultimodalModel
from mmstream.testing import fresh

EPOCHS = 16
FALLING = ("loss", "group_loss", "keywords_loss", "price_loss", "caption_loss", "near_loss", "pairs_loss")
"""What two adversaries pay does not fall, nor at once what the hardest wrong partners cost, which are chosen anew."""


def test_a_fresh_process_has_the_same_backend(record_property):
    backend = keras.backend.backend()
    record_property("backend", backend)
    assert fresh.call(keras.backend.backend) == backend


@pytest.fixture(scope="module")
def composition():
    return small_network.network()


@pytest.fixture(scope="module")
def history(composition):
    model = MultimodalModel(composition, small_network.config())
    model.build()
    model.compile(optimizer=keras.optimizers.Adam(0.02))
    rows = []
    model.fit(
        small_network.batch(),
        batch_size=16,
        epochs=EPOCHS,
        callbacks=[WeighLosses(model.loss_weights, rows)],
        verbose=0,
    )
    return model.history.history


@pytest.mark.slow
def test_losses_and_figures_are_finite(history):
    parts = {*small_network.CONFIG["model"]["heads"], *small_network.CONFIG["model"]["objectives"]}
    assert {f"{name}_loss" for name in parts} < set(history)
    assert {"caption_token_accuracy", "truth_unique", "complete_distance"} < set(history)
    assert all(np.isfinite(values).all() for values in history.values()), history


@pytest.mark.slow
def test_what_is_learnt_costs_less(history):
    rest = {name: (history[name][0], history[name][-1]) for name in FALLING if history[name][-1] >= history[name][0]}
    assert not rest


@pytest.mark.slow
def test_weights_of_losses_change_while_it_learns(history):
    assert history["truth_weight"][:3] == pytest.approx([0, 0.05, 0.1])
    assert history["group_weight"][-1] != history["group_weight"][0], "its uncertainty is learnt"


@pytest.mark.slow
def test_labelling_writes_what_was_learnt(composition, history):
    fields = small_network.batch()["fields"]
    found = keras.tree.map_structure(keras.ops.convert_to_numpy, composition.inference(fields))
    assert found["heads"]["caption"]["ids"].shape == (small_network.ROWS, 4)
    right = found["heads"]["group"]["logits"].argmax(-1) == np.arange(small_network.ROWS) % small_network.KINDS
    assert right.mean() > 0.5
    assert all(np.isfinite(array).all() for array in keras.tree.flatten(found))


def test_what_is_absent_has_no_embedding(composition):
    fields = small_network.batch()["fields"]
    embeddings = composition.inference(fields)["embeddings"]
    for name, embedding in embeddings.items():
        there = np.abs(keras.ops.convert_to_numpy(embedding)).any(axis=1)
        np.testing.assert_array_equal(there, fields[name]["present"] > 0)


def test_sampled_texts_come_first_so_that_checkpoints_keep_the_order_of_their_layers(composition):
    assert min(composition.training.output) == SAMPLED == "drawn"
