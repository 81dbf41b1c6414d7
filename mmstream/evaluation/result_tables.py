"""The results of training and evaluation as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SCORES = ("what", "records", "metric", "value", "95 % interval")
"""The column titles of `scores`."""
_COUNTS = ("records", "unseen", "unread")
"""Figures of a head that are not metrics; warnings mention the last two."""
_KINDS = ("whole", "alone", "shuffled", "absent")
CONTRIBUTIONS = ("head", "field", "records", *_KINDS)
"""The column titles of `contributions`."""
BASELINES = ("what", "metric", "baseline", "value", "difference", "95 % interval")
"""The column titles of `baselines`; a difference is that of the model from the best baseline."""
EPOCH = ("training", "validation")
"""The column titles of `epoch`, after that of the names of figures."""


def scores(metrics: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Rows of `SCORES`: each figure of metrics.json, the main metric of a head first; repeated titles are left out.

    Args:
        metrics: the contents of metrics.json.
    """
    for name, head in metrics["heads"].items():
        yield from _rows(f"{name} from {', '.join(head['reads'])}", head, first=head["metric"])
        yield from _rows(f"{name}, as texts", head.get("written", {}))
    for way, figures in metrics["retrieval"].items():
        yield from _rows(f"retrieval {way}", figures)


def contributions(metrics: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Rows of `CONTRIBUTIONS`: a head's main metric under each ablation of each field that it reads.

    Args:
        metrics: the contents of metrics.json.
    """
    for name, head in metrics["heads"].items():
        title = f"{name}: {head['metric']}"
        for field, ablated in head["fields"].items():
            yield title, field, ablated["records"], *(ablated.get(kind) for kind in _KINDS)
            title = ""


def baselines(metrics: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Rows of `BASELINES`: the main metric of the model and of each baseline, the best baseline last.

    Args:
        metrics: the contents of metrics.json.
    """
    for what, figures in measured(metrics).items():
        metric = figures.get("metric", "r@1")
        values = {name: each[metric] for name, each in figures.get("baselines", {}).items() if metric in each}
        if not values:
            continue
        best = figures.get("best_baseline", {})
        yield what, metric, "(the model)", figures[metric], "", ""
        for name in sorted(values, key=lambda name: (name == best.get("name"), values[name])):
            found = (f"{best['difference']:+.3g}", interval(best["interval"])) if name == best.get("name") else ("", "")
            yield "", "", name, values[name], *found


def warnings(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What each warning is about, and the warning.

    Args:
        metrics: the contents of metrics.json.
    """
    for what, figures in measured(metrics).items():
        for warning in figures.get("warnings", ()):
            yield what, warning


def measured(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """{what is measured: its figures}: the heads, and each direction of retrieval.

    Args:
        metrics: the contents of metrics.json.
    """
    return {**metrics["heads"], **{f"retrieval {way}": figures for way, figures in metrics["retrieval"].items()}}


def epoch(figures: Mapping[str, float]) -> Iterator[tuple[Any, ...]]:
    """Rows for an epoch: the name of each figure, then its `EPOCH` values; the loss comes first.

    Args:
        figures: the figures of the epoch, as in history.csv.
    """
    names = dict.fromkeys(name.removeprefix("val_") for name in figures if name != "epoch")
    for name in sorted(names, key=lambda each: (each != "loss", each)):
        yield name, figures.get(name), figures.get(f"val_{name}")


def interval(bounds: Sequence[float] | None) -> str:
    """Format an interval for a table.

    >>> interval([0.123456, 0.5])
    '[0.123, 0.5]'
    """
    return f"[{', '.join(f'{bound:.3g}' for bound in bounds)}]" if bounds else ""


def _rows(what: str, figures: Mapping[str, Any], first: str = "") -> Iterator[tuple[Any, ...]]:
    numbers = {name: value for name, value in figures.items() if isinstance(value, float | int) and name not in _COUNTS}
    title = what, figures.get("records", "")
    for name in sorted(numbers, key=lambda each: each != first):
        yield *title, name, numbers[name], interval(figures.get("intervals", {}).get(name))
        title = "", ""
