"""What a search optimises: a metric on the validation split, and a figure of each epoch, by which trials are pruned."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmstream.config.schema import Config
from mmstream.errors import MmstreamError, UsageError, choices, listed
from mmstream.evaluation.reliability import all_metrics_of
from mmstream.interfaces import Classes, Numbers, Outcome, Texts
from mmstream.models.plan import Plan
from mmstream.models.precision import dtype_policy
from mmstream.plugins import registry
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.storage import files

VAL_LOSS = "val_loss"
_DOWN = re.compile(r"(.+_)?(loss|error|mae|mse|rmse|ece|perplexity)")
"""Names of metrics of which a lower value is better; the main metric of a head is never one."""


@dataclasses.dataclass(frozen=True)
class Goal:
    """What a search optimises.

    Attributes:
        metric: its name: "val_loss" or another validation loss, "<head>.<metric>", or "mean of …".
        parts: the metrics whose mean it is, as pairs (head, metric); () for a loss.
        maximize: whether a higher value is better.
    """

    metric: str
    parts: tuple[tuple[str, str], ...]
    maximize: bool

    def value(self, measured: Mapping[str, float]) -> float:
        """The value of the metric.

        Args:
            measured: what a trial has measured, by name, such as "group.accuracy" or "val_loss".

        Raises:
            MmstreamError: it was not measured.
        """
        names = [f"{head}.{metric}" for head, metric in self.parts] or [self.metric]
        if lacking := [name for name in names if name not in measured]:
            raise MmstreamError(
                f"{listed(lacking)} could not be measured: the validation split lacks records that have both the "
                "target and a value that the head reads"
            )
        return float(np.mean([measured[name] for name in names]))

    def of_epoch(self, config: Config, row: Mapping[str, float]) -> float:
        """The figure of an epoch by which its trial is compared with others; in the direction of the metric.

        For metrics of heads, it is the mean of what their `progress` computes, as evaluation is costly; values of which
        lower is better count as negative if higher values of the metric are better, and the other way round.

        Args:
            config: the config of the trial.
            row: the epoch's row of the history.
        """
        if not self.parts:
            return row.get(self.metric, float("nan"))
        figures = []
        for head, _ in self.parts:
            progress = registry.find("head", config.model.heads[head].use).progress_metric
            value = row.get(f"val_{head}_{progress}", float("nan"))
            figures.append(value if is_higher_better(progress) == self.maximize else -value)
        return float(np.mean(figures))


def is_higher_better(metric: str) -> bool:
    """Return whether a higher value of a metric is better, by its name.

    >>> [is_higher_better(name) for name in ("accuracy", "mae", "absolute_error", "val_loss")]
    [True, False, False, False]
    """
    return not _DOWN.fullmatch(metric)


def goal_of(configs: Sequence[Config], metric: str | None, examples: str) -> Goal:
    """Find out what a search optimises.

    Args:
        configs: every variant of the config.
        metric: "<head>.<metric>", "val_loss" or "val_<head or objective>_loss"; None for the mean of the main metrics
            of all heads, or for "val_loss" if there are none.
        examples: output of `mmstream preprocess`.

    Raises:
        UsageError: not every variant has the metric.
    """
    if metric is None:
        return _mean_of_main_metrics(configs)
    for config in configs:
        losses = [VAL_LOSS, *(f"val_{name}_loss" for name in config.losses)]
        head, _, name = metric.partition(".")
        if metric in losses:
            continue
        known = [*losses, *_measured(config, config.model.heads, examples)]
        if metric not in known:
            raise UsageError(f"--metric: there is no {metric!r}. {choices(metric, known)}")
    head, dot, name = metric.partition(".")
    if not dot:
        return Goal(metric, (), maximize=False)
    mains = {registry.find("head", config.model.heads[head].use).metric for config in configs}
    return Goal(metric, ((head, name),), maximize=name in mains or is_higher_better(name))


def _mean_of_main_metrics(configs: Sequence[Config]) -> Goal:
    found = {
        tuple((name, registry.find("head", head.use).metric) for name, head in sorted(config.model.heads.items()))
        for config in configs
    }
    if len(found) > 1:
        each = (f"({', '.join(f'{head}.{metric}' for head, metric in parts)})" for parts in sorted(found))
        raise UsageError(
            f"the candidates do not have the same heads and main metrics: {' or '.join(each)}; say with --metric what "
            "to compare"
        )
    (parts,) = found
    if not parts:
        return Goal(VAL_LOSS, (), maximize=False)
    names = [f"{head}.{metric}" for head, metric in parts]
    return Goal(names[0] if len(names) == 1 else f"mean of {', '.join(names)}", parts, maximize=True)


def _measured(config: Config, heads: Iterable[str], examples: str) -> Iterator[str]:
    """The names of what heads measure, found by evaluating a perfect prediction of two records."""
    preprocessor = Preprocessor(config.fields, files.join(examples, "transform"))
    plan = Plan(config, preprocessor.specs, preprocessor.fitted)
    with dtype_policy(config.training.precision):
        for name in heads:
            part = plan.head(name)
            with part.naming_errors():
                layer = part.build()
                names = list(all_metrics_of(layer, _perfect(layer)))
            yield from (f"{name}.{metric}" for metric in names)


def _perfect(layer: Any) -> Outcome:
    """An outcome of two records that a head predicts perfectly."""
    rows, hot = np.arange(2), np.eye(2, dtype=bool)
    if layer.label_type in ("number", "numbers"):
        return Numbers(rows, np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]]))
    if hasattr(layer, "compare"):
        texts = ["a red cat", "two small dogs"]
        return Texts(rows, texts, texts, np.ones(2), [text.split() for text in texts])
    exclusive = layer.label_type == "string"
    return Classes(rows, ["a", "b"], hot, hot, hot.astype(float), exclusive=exclusive, fitted=2)
