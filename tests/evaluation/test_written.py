"""What is said of the texts that a head writes: how different they are, whether they were learnt, and whom they fit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from small_road import run

from mmstream.evaluation.written import diversity
from mmstream.interfaces import Texts


def texts(*found):
    tokens = [text.split() for text in found]
    return Texts(np.arange(len(found)), [""] * len(found), found, np.zeros(len(found)), tokens)


def test_diversity_counts_different_tokens_texts_and_what_was_learnt():
    found = diversity(texts("a cat", "a cat", "a dog", "猫"), {"a dog", "a bird"})
    assert found == {
        "distinct_1": pytest.approx(4 / 7),  # a, cat, dog, 猫
        "distinct_2": pytest.approx(2 / 3),
        "unique": 0.5,
        "in_training": 0.25,
    }
    assert diversity(texts("a"), set())["distinct_2"] == 0.0
    assert diversity(texts(), {"a"}) == {}


@pytest.mark.slow
def test_evaluation_tells_it_of_heads_that_write(road):
    assert run("evaluate", road.model, "--examples", road.examples) == 0
    heads = json.loads((road.model / "evaluation" / "test" / "metrics.json").read_text())["heads"]
    assert set(heads["caption"]["written"]) == {"distinct_1", "distinct_2", "unique", "in_training", "first_for_image"}
    assert all(0 <= value <= 1 for value in heads["caption"]["written"].values())
    assert "written" not in heads["group"]
    assert 'class="soft written"' in (road.model / "evaluation" / "test" / "report.html").read_text()
