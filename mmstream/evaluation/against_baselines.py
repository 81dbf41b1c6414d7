"""A model's figures beside those of baselines, on the same records."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from scipy import sparse
from sklearn.preprocessing import normalize

from mmstream.evaluation import baseline_cache
from mmstream.evaluation.baseline_cache import Kept
from mmstream.evaluation.baselines import guess
from mmstream.evaluation.intervals import Metrics, intervals, resample
from mmstream.evaluation.linear_models import FeatureSets
from mmstream.evaluation.outcomes import labelled, metrics_at, metrics_of
from mmstream.evaluation.predictions import Predictions
from mmstream.evaluation.retrieval import RANKS, Search, hits_of, recall, searches
from mmstream.evaluation.simple_models import Effort, Guess
from mmstream.interfaces import Outcome
from mmstream.storage import files

_NEIGHBOURS = 10
"""How many training records say what is looked for."""


def baselines_of(predictions: Predictions, examples_path: str, split: str, effort: Effort, folder: str) -> Kept:
    """The baselines for a model's heads and retrieval: those that are kept, or new ones, which are then kept.

    Args:
        predictions: the model's, for the same split.
        examples_path: output of `mmstream preprocess`.
        split: "validation" or "test".
        effort: "fast" or "all".
        folder: where baselines are kept; "" to keep none.

    Raises:
        MmstreamError: there is nothing to train on.
    """
    config = predictions.model.config
    key = baseline_cache.key_of(config, examples_path, split, effort) if folder else ""
    if folder and (kept := baseline_cache.load(folder, key)):
        return kept
    guesses = guess(config, examples_path, split, effort)
    retrieval = {
        way: {
            name: hits_of(similarity, search.keys, search.candidate_keys)
            for name, similarity in _similarities(guesses.features, search)
        }
        for way, search in searches(predictions).items()
    }
    kept = Kept(guesses.heads, retrieval)
    if folder:
        baseline_cache.save(folder, key, kept)
    return kept


@dataclasses.dataclass(frozen=True)
class ComparedBaselines:
    """The best baselines of a model, over those records of its split that other models have, too.

    Attributes:
        kept: what they predict for the whole split.
        places: int[N], where the records that all models have are in that split.
    """

    kept: Kept
    places: np.ndarray

    @classmethod
    def of(
        cls,
        predictions: Predictions,
        examples_path: str,
        split: str,
        effort: Literal["none"] | Effort,
        ids: Sequence[str],
    ) -> ComparedBaselines:
        """Those that are kept beside the model, or new ones.

        Args:
            predictions: the model's, for the whole split.
            examples_path: output of `mmstream preprocess`.
            split: "train", "validation" or "test"; none are fitted for the first.
            effort: which baselines.
            ids: of the records that all models have.
        """
        where = {key: place for place, key in enumerate(predictions.ids)}
        places = np.array([where[key] for key in ids])
        if effort == "none" or split == "train":
            return cls(Kept({}, {}), places)
        folder = files.join(predictions.model.path, "evaluation", split)
        return cls(baselines_of(predictions, examples_path, split, effort, folder), places)

    def head(self, head: str, predictions: Predictions, rows: np.ndarray) -> dict[str, Metrics]:
        """{"baseline: " and the name of the best one: its metrics}.

        Args:
            head: the head.
            predictions: the model's, for the records that all models have.
            rows: int[M], which of these are measured.
        """
        layer, vocabulary = predictions.model.head(head), predictions.model.fitted(head).vocabulary
        guesses, target = self.kept.heads.get(head, {}), predictions.target_of(head)
        outcomes = outcomes_of(guesses, layer, vocabulary, target, rows, self.places[rows])
        best = best_of(outcomes, layer)
        return {f"baseline: {best}": partial(metrics_at, layer, outcomes[best])} if best else {}

    def retrieval(self, way: str, count: int) -> dict[str, Metrics]:
        """The same for a direction of retrieval, if all queries of the split are compared: candidates matter."""
        hits = {name: each for name, each in self.kept.retrieval.get(way, {}).items() if len(each) == count}
        best = max(hits, key=lambda name: recall(hits[name])["r@1"], default="")
        return {f"baseline: {best}": partial(recall, hits[best])} if best else {}


def outcomes_of(
    guesses: Mapping[str, Guess],
    layer: Any,
    vocabulary: Sequence[str],
    target: Mapping[str, Any],
    rows: np.ndarray,
    places: np.ndarray | None = None,
) -> dict[str, Outcome]:
    """The outcome of each baseline of a head.

    Args:
        guesses: {baseline: what it predicts} for all records of the split.
        layer: the layer of the head.
        vocabulary: the values that training knows.
        target: the tensors of the target field, as `Predictions` has them.
        rows: int[M], the records of `target` that are measured.
        places: int[M], where these records are in the split; None for the same places.
    """
    places = rows if places is None else places
    return {
        name: labelled(layer, vocabulary, target, rows, [each.labels[int(n)] for n in places], each.scores[places])
        for name, each in guesses.items()
    }


def best_of(outcomes: Mapping[str, Outcome], layer: Any) -> str:
    """The baseline with the best main metric; "" if none has one."""
    figures = {name: metrics_of(layer, each).get(layer.metric) for name, each in outcomes.items()}
    comparable = {name: value for name, value in figures.items() if value is not None}
    return max(comparable, key=lambda name: comparable[name], default="")


def head_beside(outcomes: Mapping[str, Outcome], layer: Any, outcome: Outcome) -> dict[str, Any]:
    """The figures of baselines for a head, over the records that the head is measured on.

    Args:
        outcomes: those of the baselines.
        layer: the layer of the head.
        outcome: the head's own.

    Returns:
        {"baselines": {baseline: {metric: value}}, "best_baseline": {"name", "metric", "value", "difference",
        "interval"}}, the last by the main metric, with the difference of the head from it; {} if there are none.
    """
    best = best_of(outcomes, layer)
    if not best or layer.metric not in metrics_of(layer, outcome):
        return {}
    figures = {name: metrics_of(layer, each) for name, each in outcomes.items()}
    both = [partial(metrics_at, layer, each) for each in (outcome, outcomes[best])]
    return {"baselines": figures, "best_baseline": _difference(best, layer.metric, both, len(outcome.rows))}


def ways_beside(hits: np.ndarray, search: Search, baselines: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The figures of baselines for a direction of retrieval.

    Args:
        hits: the model's, bool[N, 3].
        search: the queries and candidates.
        baselines: {baseline: bool[N, 3]}.

    Returns:
        as `head_beside`; the difference is that of r@1, and chance is not in it.
    """
    figures = {"chance": _chance(search), **{name: recall(each) for name, each in baselines.items()}}
    if not baselines:
        return {"baselines": figures}
    best = max(baselines, key=lambda name: figures[name]["r@1"])
    both = [partial(recall, each) for each in (hits, baselines[best])]
    return {"baselines": figures, "best_baseline": _difference(best, "r@1", both, len(hits))}


def warnings_of(figures: Mapping[str, Any]) -> Iterator[str]:
    """A warning if the best baseline is better, from a head's entry or a retrieval's in metrics.json."""
    best = figures.get("best_baseline")
    if best and best["difference"] < 0:
        metric = best["metric"]
        low, high = best["interval"]
        certain = "a significant difference" if high < 0 else "the difference may be chance"
        yield (
            f"worse than {best['name']}: {metric} {figures[metric]:.3f} against {best['value']:.3f} "
            f"({certain}: {low:+.3f} to {high:+.3f})"
        )


def _difference(best: str, metric: str, both: Sequence[Metrics], count: int) -> dict[str, Any]:
    """The difference of a model from a baseline; resamples are the same for both, so that it is paired."""
    own, other = ({metric: of(np.arange(count))[metric]} for of in both)
    resampled = [resample(of, count)[metric] for of in both]
    difference = own[metric] - other[metric]
    interval = intervals({metric: resampled[0] - resampled[1]}, {metric: difference}).get(metric, [difference] * 2)
    return {"name": best, "metric": metric, "value": other[metric], "difference": difference, "interval": interval}


def _chance(search: Search) -> dict[str, float]:
    """The recall of a random order: 1 - C(M - right, k) / C(M, k), averaged over the queries."""
    keys = Counter(search.candidate_keys)
    right = np.array([keys[key] for key in search.keys])
    count = len(search.candidates)
    shares = {}
    for k in RANKS:
        fewer = np.array([max(count - n, 0) for n in right])
        missed = [math.comb(int(n), k) / math.comb(count, k) if count >= k else 0.0 for n in fewer]
        shares[f"r@{k}"] = float(1 - np.mean(missed))
    return shares


def _similarities(features: FeatureSets, search: Search) -> Iterator[tuple[str, np.ndarray]]:
    """The names of baselines for a retrieval, and the similarity of each query to each candidate, float[N, M].

    Two texts are compared directly. Otherwise the training records nearest to a query, by its own field, say what its
    value of the other field would be like.
    """
    of, among = search.way
    if not (features.has(of) and features.has(among)):
        return
    candidates = features.vectors(among)[2][search.rows[search.candidates]]
    if features.is_text(of) and features.is_text(among):
        yield "TF-IDF", _cosine(features.vectors(of, like=among)[2][search.rows], candidates)
        return
    both = features.both_in_training(of, among)
    if not len(both):
        return
    near = _cosine(features.vectors(of)[2][search.rows], features.vectors(of)[0][both])
    count = min(_NEIGHBOURS, len(both))
    columns = np.argpartition(-near, count - 1, axis=1)[:, :count]
    places = np.repeat(np.arange(len(near)), count), columns.reshape(-1)
    weights = sparse.csr_array((near[places], places), shape=near.shape)
    yield "nearest training records", _cosine(weights @ features.vectors(among)[0][both], candidates)


def _cosine(one: sparse.csr_array, other: sparse.csr_array) -> np.ndarray:
    similarity: np.ndarray = (normalize(one) @ normalize(other).T).toarray()
    return similarity
