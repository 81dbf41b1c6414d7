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

from mmstream import terminal
from mmstream.evaluation import baseline_cache
from mmstream.evaluation.baseline_cache import Kept
from mmstream.evaluation.baselines import guess
from mmstream.evaluation.intervals import Metrics, intervals, resample
from mmstream.evaluation.linear_models import FeatureSets
from mmstream.evaluation.outcomes import HeadMetrics, labelled, metrics_of
from mmstream.evaluation.predictions import Predictions
from mmstream.evaluation.products import products
from mmstream.evaluation.retrieval import RANKS, Search, hits_of, recall, searches
from mmstream.evaluation.simple_models import Effort, Guess
from mmstream.interfaces import Outcome
from mmstream.preprocessing import examples
from mmstream.storage import files

_NONE = Kept({}, {})
_NEIGHBOURS = 10
"""How many training records say what is looked for."""


def baselines_of(
    predictions: Predictions, examples_path: str, split: str, effort: Literal["none"] | Effort
) -> tuple[Kept, str]:
    """The baselines for a model's heads and retrieval: those that are kept beside it, or new ones, which are then kept.

    Args:
        predictions: the model's, for the whole split.
        examples_path: output of `mmstream preprocess`.
        split: "train", "validation" or "test".
        effort: which baselines.

    Returns:
        the baselines; and, if there are none although some are asked for, why.
    """
    if effort == "none":
        return _NONE, ""
    if split == "train":
        return _NONE, "baselines are fitted to the training split, so they are not measured on it"
    if not examples.has_records(examples_path, "train"):
        return _NONE, f"baselines are fitted to the training split, which {examples_path} no longer contains"
    config, folder = predictions.model.config, files.join(predictions.model.path, "evaluation", split)
    key = baseline_cache.key_of(config, examples_path, split, effort)
    kept = baseline_cache.load(folder, key)
    if kept is None:
        kept = _computed(predictions, examples_path, split, effort)
        try:
            baseline_cache.save(folder, key, kept)
        except OSError as error:  # a model that may only be read can be compared, too
            terminal.warn(f"the baselines cannot be kept in {folder}, so the next run computes them again: {error}")
    return kept, ""


def _computed(predictions: Predictions, examples_path: str, split: str, effort: Effort) -> Kept:
    config = predictions.model.config
    guesses = guess(config, examples_path, split, effort)
    retrieval = {
        way: {
            name: hits_of(similarity, search.keys, search.candidate_keys)
            for name, similarity in _similarities(guesses.features, search)
        }
        for way, search in searches(predictions).items()
    }
    return Kept(guesses.heads, retrieval)


@dataclasses.dataclass(frozen=True)
class ComparedBaselines:
    """The best baselines of a model, over those records of its split that other models have, too.

    Attributes:
        kept: what they predict for the whole split.
        places: int[N], where the records that all models have are in that split.
        why_none: why there are none although some are asked for; else "".
    """

    kept: Kept
    places: np.ndarray
    why_none: str

    @classmethod
    def of(
        cls,
        predictions: Predictions,
        examples_path: str,
        split: str,
        effort: Literal["none"] | Effort,
        ids: Sequence[str],
    ) -> ComparedBaselines:
        """Those of `baselines_of`.

        Args:
            predictions: the model's, for the whole split.
            examples_path: as there.
            split: as there.
            effort: as there.
            ids: of the records that all models have.
        """
        where = {key: place for place, key in enumerate(predictions.ids)}
        places = np.array([where[key] for key in ids])
        kept, why_none = baselines_of(predictions, examples_path, split, effort)
        return cls(kept, places, why_none)

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
        return {f"baseline: {best}": HeadMetrics.of(layer, outcomes[best])} if best else {}

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
    return _best({name: metrics_of(layer, each) for name, each in outcomes.items()}, layer.metric)


def _best(figures: Mapping[str, Mapping[str, float]], metric: str) -> str:
    comparable = {name: each[metric] for name, each in figures.items() if metric in each}
    return max(comparable, key=lambda name: comparable[name], default="")


def head_beside(
    outcomes: Mapping[str, Outcome], own: HeadMetrics, resampled: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """The figures of baselines for a head, over the records that the head is measured on.

    Args:
        outcomes: those of the baselines, over the same records as the head's.
        own: the metrics of the head.
        resampled: the result of `resample` for them, over all records of the split.

    Returns:
        {"baselines": {baseline: {metric: value}}, "best_baseline": {"name", "metric", "value", "difference",
        "interval"}}, the last by the main metric, with the difference of the head from it; {} if there are none.
    """
    layer, metric = own.head, own.head.metric
    figures = {name: metrics_of(layer, each) for name, each in outcomes.items()}
    best, value = _best(figures, metric), metrics_of(layer, own.outcome).get(metric)
    if not best or value is None:
        return {}
    other = HeadMetrics(layer, outcomes[best], own.places)
    difference = _difference(value - figures[best][metric], resampled, resample(other, len(own.places)), metric)
    about = {"name": best, "metric": metric, "value": figures[best][metric]}
    return {"baselines": figures, "best_baseline": about | difference}


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
    own, other = (resample(partial(recall, each), len(hits)) for each in (hits, baselines[best]))
    difference = _difference(recall(hits)["r@1"] - figures[best]["r@1"], own, other, "r@1")
    return {
        "baselines": figures,
        "best_baseline": {"name": best, "metric": "r@1", "value": figures[best]["r@1"]} | difference,
    }


def worse_than(figures: Mapping[str, Any]) -> Iterator[str]:
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


def _difference(
    difference: float, own: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], metric: str
) -> dict[str, Any]:
    """The difference of a model from a baseline and its interval, paired: both have the same resamples."""
    paired = {metric: own[metric] - other[metric]} if metric in own and metric in other else {}
    interval = intervals(paired, {metric: difference}).get(metric, [difference] * 2)
    return {"difference": difference, "interval": interval}


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
        yield "TF-IDF", products(_unit(features.vectors(of, like=among)[2][search.rows]), _unit(candidates))
        return
    both = features.both_in_training(of, among)
    if not len(both):
        return
    near = products(_unit(features.vectors(of)[2][search.rows]), _unit(features.vectors(of)[0][both]))
    count = min(_NEIGHBOURS, len(both))
    columns = np.argpartition(-near, count - 1, axis=1)[:, :count]
    places = np.repeat(np.arange(len(near)), count), columns.reshape(-1)
    weights = sparse.csr_array((near[places], places), shape=near.shape)
    yield "nearest training records", weights @ products(features.vectors(among)[0][both], _unit(candidates))


def _unit(vectors: sparse.csr_array) -> sparse.csr_array:
    return sparse.csr_array(normalize(vectors))
