"""What can be said of the texts that a head wrote beside how near they are to what was wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from mmstream.interfaces import Texts


def diversity(outcome: Texts, learnt: Collection[str]) -> dict[str, float]:
    """How different the texts are from one another, and from those that were learnt; {} of no texts.

    Source: distinct-n of Li et al., "A diversity-promoting objective function for neural conversation models" (2016).

    Args:
        outcome: the texts.
        learnt: the texts of the training split.

    Returns:
        {"distinct_1", "distinct_2": different tokens, and pairs of neighbours, a token or pair; "unique": the share of
        texts that no other record got, too; "in_training": the share of those that stand in the training split}.
    """
    count = len(outcome.found)
    if not count:
        return {}
    times, known = Counter(outcome.found), set(learnt)
    return {
        "distinct_1": _distinct(outcome.tokens, 1),
        "distinct_2": _distinct(outcome.tokens, 2),
        "unique": sum(times[text] == 1 for text in outcome.found) / count,
        "in_training": sum(text in known for text in outcome.found) / count,
    }


def _distinct(texts: Sequence[Sequence[str]], size: int) -> float:
    grams = [tuple(text[start : start + size]) for text in texts for start in range(len(text) - size + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0
