"""The plots of a report, as data URIs of SVG images."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn import metrics

from mmstream.evaluation.reliability import bins_of, confidences
from mmstream.interfaces import Classes

_STYLE = {
    "svg.fonttype": "none",  # text stays text, in whatever font the reader has for its script
    "svg.hashsalt": "mmstream",  # equal figures give equal bytes
    "text.parse_math": False,  # a class may be called "$5"
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_BLUE, _GREY, _RED = "#2b6cb0", "#a0aec0", "#c05621"
_MOST_CLASSES = 40
_CURVES = 6


def contributions(fields: Mapping[str, Mapping[str, float]], metric: str) -> str:
    """Bars: a head's metric under each ablation of each field (alone, shuffled, absent); a line for all fields."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(4.8, 0.6 + 0.75 * len(fields))
        for place, ablated in enumerate(fields.values()):
            for step, (kind, colour) in enumerate((("alone", _BLUE), ("shuffled", _RED), ("absent", _GREY))):
                label = None if kind in axes.get_legend_handles_labels()[1] else kind
                if kind in ablated:
                    axes.barh(place + 0.26 * (step - 1), ablated[kind], 0.24, color=colour, label=label)
        whole = [ablated["whole"] for ablated in fields.values()]
        places = np.arange(len(fields))
        axes.vlines(whole, places - 0.42, places + 0.42, color="black", linewidth=1.5, label="all fields")
        axes.set_yticks(range(len(fields)), list(fields))
        axes.invert_yaxis()
        axes.set_xlabel(metric)
        figure.legend(loc="outside upper center", ncols=4, frameon=False)
        return _uri(figure)


def reliability(outcome: Classes) -> str:
    """A reliability diagram: the share of right labels by the probability that the head gives them."""
    confidence, right = confidences(outcome)
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(3.6, 3.2)
        axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--")
        bins = bins_of(confidence)
        for number in np.unique(bins):
            inside = bins == number
            size = 15 + 150 * inside.mean()
            axes.scatter(confidence[inside].mean(), right[inside].mean(), s=size, color=_BLUE, zorder=3)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", ylabel="share correct")
        return _uri(figure)


def confusion(outcome: Classes) -> str:
    """A confusion matrix; if there are many classes, only of the most frequent ones."""
    target, prediction = outcome.targets.argmax(1), outcome.predictions.argmax(1)
    shown = np.sort(np.argsort(-outcome.targets.sum(0), kind="stable")[:_MOST_CLASSES])
    counts = metrics.confusion_matrix(target, prediction, labels=shown)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    with matplotlib.rc_context(_STYLE):
        side = 1.6 + 0.27 * len(shown)
        figure, axes = _axes(side + 0.6, side)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        names = [_short(outcome.names[place]) for place in shown]
        axes.set_xticks(range(len(shown)), names, rotation=90)
        axes.set_yticks(range(len(shown)), names)
        axes.set(xlabel="predicted", ylabel="true")
        if len(shown) <= _MOST_CLASSES // 2:
            for (row, column), count in np.ndenumerate(counts):
                if count:
                    colour = "white" if shares[row, column] > 0.5 else "black"
                    axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=7)
        return _uri(figure)


def precision_recall(outcome: Classes) -> str:
    """Precision plotted against recall, for all classes together and for the most frequent ones."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(4.6, 3.2)
        precision, recall, _ = metrics.precision_recall_curve(outcome.targets.ravel(), outcome.scores.ravel())
        axes.plot(recall, precision, color="black", linewidth=2, label="all together")
        support = outcome.targets.sum(0)
        for place in np.argsort(-support, kind="stable")[:_CURVES]:
            if support[place]:
                precision, recall, _ = metrics.precision_recall_curve(
                    outcome.targets[:, place], outcome.scores[:, place]
                )
                axes.plot(recall, precision, linewidth=1, label=_short(outcome.names[place]))
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        figure.legend(loc="outside right center", frameon=False)
        return _uri(figure)


def scatter(target: np.ndarray, prediction: np.ndarray) -> str:
    """Predicted numbers plotted against true ones, float[N] each; NaN where the target is unknown."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(3.6, 3.2)
        mask = ~np.isnan(target)
        target, prediction = target[mask], prediction[mask]
        low, high = min(target.min(), prediction.min()), max(target.max(), prediction.max())
        axes.plot([low, high], [low, high], color=_GREY, linewidth=1, linestyle="--")
        axes.scatter(target, prediction, s=8, color=_BLUE, alpha=0.6, linewidths=0)
        axes.set(xlabel="true", ylabel="predicted")
        return _uri(figure)


def training(history: Sequence[Mapping[str, float]], best_epoch: int) -> str:
    """A small plot by epoch for each figure of a training's history, in training and on the validation split.

    Args:
        history: a row for each epoch, as in history.csv.
        best_epoch: the epoch whose weights were kept.
    """
    names = sorted({name.removeprefix("val_") for row in history for name in row if name != "epoch"})
    columns = min(len(names), 4)
    lines = -(-len(names) // columns)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(2.6 * columns, 1.8 * lines), layout="constrained")
        for place, name in enumerate(names, 1):
            axes = figure.add_subplot(lines, columns, place)
            for key, colour, label in ((name, _BLUE, "training"), (f"val_{name}", _RED, "validation")):
                points = [(row["epoch"], row[key]) for row in history if key in row]
                if points:
                    marker = "." if len(points) == 1 else None
                    axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.2, label=label, marker=marker)
            axes.axvline(best_epoch, color=_GREY, linewidth=0.8, linestyle="--", label="kept")
            axes.set_title(name, fontsize=8)
        named = dict(zip(*reversed(figure.axes[0].get_legend_handles_labels()), strict=True))
        figure.legend(named.values(), named, loc="outside upper left", ncols=3, frameon=False)
        return _uri(figure)


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"


def _uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # the reader's fonts have the glyph
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"
