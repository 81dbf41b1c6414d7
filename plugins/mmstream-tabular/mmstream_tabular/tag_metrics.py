"""Metrics of tags, for many resamples of the records at once: a bootstrap over a thousand tags else takes minutes."""

from __future__ import annotations

import numpy as np

from mmstream.interfaces import Classes
from mmstream_tabular.balance import rarest

_TAGS_AT_ONCE = 256
"""Bounds the memory that sums over records need."""


def tag_metrics(outcome: Classes, counts: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of tags.

    Args:
        outcome: targets, labels and scores of N records.
        counts: int32[R, N], how often each of R resamples holds each record.

    Returns:
        {metric: float[R]}, NaN where a metric is undefined: "map", the mean average precision over the fitted tags that
        are targets; "micro_f1", over all pairs of a record and a tag; "macro_f1", the mean over the tags that are
        targets or labels; "rare_recall", the mean recall of the targets in the rarest third of the fitted tags.
    """
    targets, labels = outcome.targets, outcome.predictions
    support, right = _sums(targets, counts), _sums(targets & labels, counts)
    either = support + _sums(labels, counts)
    rare = rarest(targets.shape[1], outcome.fitted)
    fitted = slice(outcome.fitted)
    return {
        "map": _mean(average_precisions(targets[:, fitted], outcome.scores[:, fitted], counts)),
        "micro_f1": _ratio(2 * right.sum(1), either.sum(1)),
        "macro_f1": _mean(_ratio(2 * right, either)),
        "rare_recall": _mean(_ratio(right, support)[:, rare]),
    }


def average_precisions(targets: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The average precision of each tag in each resample.

    It is the mean, over the records that have the tag, of the precision among the records with at least their score; so
    the records need to be sorted only once.

    Args:
        targets: bool[N, V].
        scores: float[N, V].
        counts: int32[R, N].

    Returns:
        float64[R, V], NaN where no record of a resample has the tag.
    """
    by_record = np.ascontiguousarray(counts.T)
    precisions = np.full((len(counts), targets.shape[1]), np.nan)
    by_tag = np.ascontiguousarray(-scores.T)
    for tag in np.flatnonzero(targets.any(0)):
        order = np.argsort(by_tag[tag], kind="stable")
        ranked = by_tag[tag, order]
        places = np.flatnonzero(targets[order, tag])  # of those that have the tag
        ends, group = np.unique(np.searchsorted(ranked, ranked[places], side="right"), return_inverse=True)
        starts = np.concatenate([[0], ends[:-1]])  # equal scores, and what lies between, are counted together
        drawn = by_record[order[: ends[-1]]]
        above = np.cumsum(np.add.reduceat(drawn, starts, axis=0), axis=0)
        weights = drawn[places]
        right = np.cumsum(weights, axis=0)[np.searchsorted(places, ends) - 1]
        sums = (weights * (right / np.maximum(above, 1))[group]).sum(0)
        precisions[:, tag] = _ratio(sums, weights.sum(0))
    return precisions


def _sums(hot: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """How often each tag occurs in each resample: bool[N, C] → float64[R, C]."""
    weights = counts.astype(np.float64)
    blocks = range(0, hot.shape[1], _TAGS_AT_ONCE)
    sums = [weights @ hot[:, start : start + _TAGS_AT_ONCE].astype(np.float64) for start in blocks]
    return np.concatenate(sums, 1) if sums else np.zeros((len(counts), 0))


def _ratio(some: np.ndarray, of: np.ndarray) -> np.ndarray:
    """One array divided by another; NaN where that is 0."""
    return np.divide(some, of, out=np.full(np.shape(of), np.nan), where=of > 0)


def _mean(values: np.ndarray) -> np.ndarray:
    """float[R, C] → float[R], the mean of those that are defined; NaN if none is."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(1), known.sum(1))
