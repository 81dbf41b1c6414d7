"""The diversity of the texts that a head wrote, which metrics of closeness to the target do not show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from mmstream.interfaces import Texts


def diversity(outcome: Texts, learnt: Collection[str] | None) -> dict[str, float]:
    """Measure how texts differ from one another and from those of the training split; {} if there are none.

    Source: distinct-n of Li et al., "A diversity-promoting objective function for neural conversation models" (2016).

    Args:
        outcome: the texts.
        learnt: the texts of the training split; None if they are not known.

    Returns:
        {"distinct_1", "distinct_2": the number of distinct tokens, and of distinct pairs of neighbouring tokens, as a
        share of all; "unique": the share of texts that were written for one record only; "in_training": the share of
        texts that occur in the training split, if they are known}.
    """
    count = len(outcome.predictions)
    if not count:
        return {}
    times = Counter(outcome.predictions)
    figures = {
        "distinct_1": _distinct(outcome.tokens, 1),
        "distinct_2": _distinct(outcome.tokens, 2),
        "unique": sum(times[text] == 1 for text in outcome.predictions) / count,
    }
    if learnt is not None:
        in_training = set(learnt)
        figures["in_training"] = sum(text in in_training for text in outcome.predictions) / count
    return figures


def _distinct(texts: Sequence[Sequence[str]], size: int) -> float:
    grams = [tuple(text[start : start + size]) for text in texts for start in range(len(text) - size + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0
