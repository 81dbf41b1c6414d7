"""Retrieval counts how often a query's own item is among the nearest candidates, and gives nothing away."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.evaluation.retrieval import hits, recall

EYE = np.eye(12, dtype=np.float32)


def names(count):
    return [f"item {n}" for n in range(count)]


def retrieval(*arguments):
    return recall(hits(*arguments))


def test_perfect_embeddings_find_every_item_first():
    assert retrieval(EYE, EYE, names(12), names(12)) == {"r@1": 1.0, "r@5": 1.0, "r@10": 1.0}


def test_lengths_of_vectors_do_not_matter():
    scale = np.arange(1, 13, dtype=np.float32)[:, None]
    assert retrieval(EYE * scale, EYE / scale, names(12), names(12))["r@1"] == 1.0


def test_equal_embeddings_are_worth_nothing():
    ones = np.ones((12, 4), np.float32)
    assert retrieval(ones, ones, names(12), names(12)) == {"r@1": 0.0, "r@5": 0.0, "r@10": 0.0}


def test_a_wrong_candidate_that_is_as_near_stands_before_the_right_one():
    candidates = np.concatenate([EYE[:1], EYE])
    found = retrieval(EYE, candidates, names(12), ["a wrong one", *names(12)])
    assert found["r@1"] == pytest.approx(11 / 12)
    assert found["r@5"] == 1.0


def test_every_candidate_with_an_equal_text_is_right():
    queries = EYE[[0, 1]]
    candidates = EYE[[1, 0]]
    assert retrieval(queries, candidates, ["smile", "smile"], ["smile", "smile"])["r@1"] == 1.0
    assert retrieval(queries, candidates, ["smile", "grin"], ["smile", "grin"])["r@1"] == 0.0


def test_many_pictures_of_one_text_share_its_one_candidate():
    found = retrieval(EYE[[0, 0, 1]], EYE[:2], ["cat", "cat", "dog"], ["cat", "dog"])
    assert found["r@1"] == 1.0


def test_of_several_right_candidates_the_nearest_counts():
    candidates = np.stack([EYE[5], EYE[0], EYE[1]])
    assert retrieval(EYE[:1], candidates, ["cat"], ["cat", "cat", "dog"])["r@1"] == 1.0


def test_one_candidate_is_always_found():
    assert retrieval(EYE[:1], EYE[3:4], ["cat"], ["cat"]) == {"r@1": 1.0, "r@5": 1.0, "r@10": 1.0}


def test_a_query_without_a_right_candidate_is_a_miss():
    found = retrieval(EYE[:2], EYE[:2], ["cat", "bird"], ["cat", "dog"])
    assert (found["r@1"], found["r@10"]) == (0.5, 0.5)


def test_embeddings_that_are_not_numbers_are_misses():
    broken = np.full((12, 12), np.nan, np.float32)
    with np.errstate(invalid="ignore"):
        assert retrieval(broken, EYE, names(12), names(12))["r@10"] == 0.0
        assert retrieval(EYE, broken, names(12), names(12))["r@10"] == 0.0


def test_zero_vectors_find_nothing():
    assert retrieval(np.zeros((12, 12)), EYE, names(12), names(12))["r@10"] == 0.0


KEYS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=8)


@given(KEYS, KEYS, st.integers(0, 2**32 - 1))
def test_it_agrees_with_the_definition(query_keys, candidate_keys, seed):
    generator = np.random.default_rng(seed)
    queries, candidates = (generator.normal(size=(len(keys), 3)) for keys in (query_keys, candidate_keys))
    similarity = (queries @ candidates.T) / np.linalg.norm(candidates, axis=1)
    found = retrieval(queries, candidates, query_keys, candidate_keys)
    ranks = []
    for row, own in zip(similarity, query_keys, strict=True):
        nearest_first = [candidate_keys[candidate] for candidate in np.argsort(-row)]
        ranks.append(nearest_first.index(own) if own in nearest_first else 99)
    assert [found[f"r@{k}"] for k in (1, 5, 10)] == [
        pytest.approx(sum(rank < k for rank in ranks) / len(ranks)) for k in (1, 5, 10)
    ]
