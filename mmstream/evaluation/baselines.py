"""Baselines: how simple models score on the same records and metrics, to show whether a network is worth it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from mmstream.config.schema import Config
from mmstream.errors import MmstreamError
from mmstream.evaluation.intervals import bootstrap
from mmstream.evaluation.outcomes import has_value, labelled, metrics_of
from mmstream.evaluation.result_tables import interval
from mmstream.evaluation.simple_features import Records, read_records
from mmstream.evaluation.simple_models import Effort, Target, guesses
from mmstream.interfaces import Outcome
from mmstream.models.plan import Plan
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.records.record import SPLITS
from mmstream.storage import files

COLUMNS = ("head", "records", "baseline", "metric", "value", "95 % interval")
"""The column titles of `table`."""


def measure(config: Config, examples_path: str, split: str, effort: Effort) -> dict[str, Any]:
    """Fit the baselines of each head to the training split, and measure them on another, without a network.

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
        raise MmstreamError("the config has no head, and baselines predict what heads predict")
    preprocessor = Preprocessor(config.fields, files.join(examples_path, "transform"))
    plan = Plan(config, preprocessor.specs, preprocessor.fitted)
    inputs = {field for head in config.model.heads.values() for field in config.reads(head)}
    targets = {head.target for head in config.model.heads.values()}
    splits = {
        name: read_records(examples_path, name, preprocessor.specs, inputs, targets)
        for name in SPLITS
        if files.exists(files.join(examples_path, "examples", name))
    }
    splits = {name: records for name, records in splits.items() if len(records)}
    if split not in splits or "train" not in splits:
        raise MmstreamError(f"the split {split!r} of {examples_path} is empty")
    heads = {}
    for name, part in sorted(config.model.heads.items()):
        with plan.head(name).naming_errors():
            layer = plan.head(name).build()
        vocabulary = plan.fitted[part.target].vocabulary
        target = Target(part.target, config.reads(part), layer.label_type, hasattr(layer, "compare"), vocabulary)
        heads[name] = _measured(layer, target, splits, split, effort)
    return {"split": split, "records": len(splits[split]), "heads": heads}


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


def _measured(layer: Any, target: Target, splits: Mapping[str, Records], split: str, effort: Effort) -> dict[str, Any]:
    """The figures of a head's baselines, over the records that have a target and something that the head reads."""
    records = splits[split]
    given: dict[str, Any] = {"given": records.given[target.field], **({"text": ()} if target.is_text else {})}
    readable = np.logical_or.reduce([records.columns[field].present for field in target.reads])
    rows = np.flatnonzero(has_value(given) & readable)
    measured: dict[str, Any] = {}
    for name, guess in guesses(target, splits, split, effort).items() if len(rows) else ():
        labels = [guess.labels[int(row)] for row in rows]
        outcome = labelled(layer, target.vocabulary, given, rows, labels, guess.scores[rows])
        intervals = bootstrap(partial(_of_places, layer, outcome), len(rows))
        measured[name] = {**metrics_of(layer, outcome), "intervals": intervals}
    return {"records": len(rows), "metric": layer.metric, "baselines": measured}


def _of_places(layer: Any, outcome: Outcome, places: np.ndarray) -> dict[str, float]:
    return metrics_of(layer, outcome, outcome.rows[places])
