"""Baselines: how simple models score on the same records and metrics, to show whether a network is worth it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mmstream.config.checks import aligned
from mmstream.config.schema import Config
from mmstream.errors import MmstreamError
from mmstream.evaluation.intervals import bootstrap
from mmstream.evaluation.linear_models import FeatureSets
from mmstream.evaluation.outcomes import HeadMetrics, has_value, labelled, metrics_of
from mmstream.evaluation.result_tables import interval
from mmstream.evaluation.simple_features import Records, read_records
from mmstream.evaluation.simple_models import Baselines, Effort, Guess, Target
from mmstream.interfaces import Outcome
from mmstream.models.plan import Plan
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.records.record import SPLITS
from mmstream.storage import files

COLUMNS = ("head", "records", "baseline", "metric", "value", "95 % interval")
"""The column titles of `table`."""


@dataclasses.dataclass(frozen=True)
class Guesses:
    """What the baselines of a config's heads predict for a split.

    Attributes:
        records: the N records of the split.
        layers: the layer of each head, which decides the metrics.
        targets: what each head predicts.
        heads: {head: {baseline: what it predicts}}.
        features: those of the training split, of the validation split and of this one.
    """

    records: Records
    layers: Mapping[str, Any]
    targets: Mapping[str, Target]
    heads: Mapping[str, Mapping[str, Guess]]
    features: FeatureSets

    def outcome(self, head: str, baseline: str, rows: np.ndarray) -> Outcome:
        """The outcome of a baseline for some records, int[M], that have a target."""
        target, guess = self.targets[head], self.heads[head][baseline]
        given: dict[str, Any] = {"given": self.records.given[target.field], **({"text": ()} if target.is_text else {})}
        labels = [guess.labels[int(row)] for row in rows]
        return labelled(self.layers[head], target.vocabulary, given, rows, labels, guess.scores[rows])

    def rows(self, head: str) -> np.ndarray:
        """int[M]: the records that have a target and something that the head reads."""
        target = self.targets[head]
        readable = np.logical_or.reduce([self.records.columns[field].present for field in target.reads])
        return np.flatnonzero(has_value({"given": self.records.given[target.field]}) & readable)


def guess(config: Config, examples_path: str, split: str, effort: Effort) -> Guesses:
    """Fit the baselines of each head to the training split, and let them predict another.

    Args:
        config: whose heads are predicted.
        examples_path: output of `mmstream preprocess`, made with the fields of this config.
        split: "validation" or "test".
        effort: "fast" or "all".

    Raises:
        MmstreamError: the split, or that for training, is empty.
    """
    preprocessor = Preprocessor(config.fields, files.join(examples_path, "transform"))
    plan = Plan(config, preprocessor.specs, preprocessor.fitted)
    inputs = {field for head in config.model.heads.values() for field in config.reads(head)}
    inputs |= {field for pair in aligned(config) for field in pair}
    fields = {head.target for head in config.model.heads.values()}
    splits = {
        name: read_records(examples_path, name, preprocessor.specs, inputs, fields)
        for name in SPLITS
        if files.exists(files.join(examples_path, "examples", name)) and name in ("train", "validation", split)
    }
    splits = {name: records for name, records in splits.items() if len(records)}
    if split not in splits or "train" not in splits:
        raise MmstreamError(f"the split {split!r} of {examples_path} is empty")
    layers, targets = {}, {}
    for name, part in sorted(config.model.heads.items()):
        with plan.head(name).naming_errors():
            layers[name] = plan.head(name).build()
        is_text = hasattr(layers[name], "compare")
        vocabulary = plan.fitted[part.target].vocabulary
        targets[name] = Target(part.target, config.reads(part), layers[name].label_type, is_text, vocabulary)
    fitted = Baselines(splits, split, effort)
    heads = {name: fitted.guesses(target) for name, target in targets.items()}
    return Guesses(splits[split], layers, targets, heads, fitted.features)


def measure(config: Config, examples_path: str, split: str, effort: Effort) -> dict[str, Any]:
    """Measure the baselines of each head, without a network.

    Args:
        config: whose heads are predicted.
        examples_path: output of `mmstream preprocess`, made with the fields of this config.
        split: "validation" or "test".
        effort: "fast" or "all".

    Returns:
        {"split", "records", "heads": {head: {"records", "metric", "baselines": {name: {metric: value, "intervals"}}}}}.

    Raises:
        MmstreamError: the config has no head, or the split is empty.
    """
    if not config.model.heads:
        raise MmstreamError("the config has no heads, so there is nothing for baselines to predict")
    guesses = guess(config, examples_path, split, effort)
    heads = {name: _measured(guesses, name) for name in sorted(guesses.heads)}
    return {"split": split, "records": len(guesses.records), "heads": heads}


def table(measured: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The result of `measure` as rows of `COLUMNS`, a head's main metric first; repeated titles are left out."""
    for name, head in measured["heads"].items():
        title: tuple[Any, ...] = (name, head["records"])
        if not head["baselines"]:
            yield *title, "nothing to measure", "", None, ""
        for baseline, figures in head["baselines"].items():
            values = {key: value for key, value in figures.items() if key != "intervals"}
            by = baseline
            for metric in sorted(values, key=lambda each: each != head["metric"]):
                yield *title, by, metric, values[metric], interval(figures["intervals"].get(metric))
                title, by = ("", ""), ""


def _measured(guesses: Guesses, head: str) -> dict[str, Any]:
    """The figures of a head's baselines, over the records that have a target and something that the head reads."""
    rows, layer = guesses.rows(head), guesses.layers[head]
    measured: dict[str, Any] = {}
    for name in guesses.heads[head] if len(rows) else ():
        outcome = guesses.outcome(head, name, rows)
        intervals = bootstrap(HeadMetrics.of(layer, outcome), len(rows))
        measured[name] = {**metrics_of(layer, outcome), "intervals": intervals}
    return {"records": len(rows), "metric": layer.metric, "baselines": measured}
