"""Comparison: models side by side on the same records, and which differences are statistically significant."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmstream.errors import MmstreamError, UsageError
from mmstream.evaluation.ablation import WHOLE
from mmstream.evaluation.against_baselines import ComparedBaselines
from mmstream.evaluation.intervals import Metrics, intervals, resample
from mmstream.evaluation.outcomes import HeadMetrics, metrics_of
from mmstream.evaluation.predictions import Predictions, check_examples, predict_split
from mmstream.evaluation.retrieval import Search, Way, have_both, recall, ways
from mmstream.evaluation.simple_models import Effort
from mmstream.interfaces import Classes, Numbers, Outcome
from mmstream.storage import files
from mmstream.trained_model.artefact import TrainedModel, load

COLUMNS = ("what", "records", "metric", "model", "value", "interval", "difference", "interval", "excludes 0")
"""The column titles of `table`."""
_NOT_ALIGNED = "has no objective that aligns these fields"


@dataclasses.dataclass(frozen=True)
class Contender:
    """A compared model, and its predictions for the split.

    Attributes:
        name: the name of its folder, or its path if several folders have the same name.
        examples: the folder of the examples that it predicted.
        predictions: with targets only for its heads and for the fields that its objectives align.
    """

    name: str
    examples: str
    predictions: Predictions
    _outcomes: dict[str, Outcome] = dataclasses.field(default_factory=dict)

    @property
    def model(self) -> TrainedModel:
        """The model."""
        return self.predictions.model

    def of(self, ids: Sequence[str]) -> Contender:
        """A copy with only these records, in this order."""
        places = {key: place for place, key in enumerate(self.predictions.ids)}
        rows = np.array([places[key] for key in ids])
        ablated = {WHOLE: _taken(self.predictions.outputs, rows)}
        return Contender(
            self.name, self.examples, Predictions(self.model, ablated, _taken(self.predictions.targets, rows))
        )

    def metrics(self, head: str, rows: np.ndarray) -> dict[str, float]:
        """The metrics of a head over some records."""
        return metrics_of(self.model.head(head), self.outcome(head), rows)

    def outcome(self, head: str) -> Outcome:
        """The outcome of a head over the records that have a target and that the model could read."""
        if head not in self._outcomes:
            self._outcomes[head] = self.predictions.outcome(head)
        return self._outcomes[head]


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A head or retrieval for which a model is not compared with the first one, and why.

    Attributes:
        what: a head, or a direction of retrieval, such as "image->text".
        model: the name of the model.
        why: what the model lacks, or what differs.
    """

    what: str
    model: str
    why: str


def compare(
    models: Sequence[str], examples: Sequence[str], split: str, baselines: Literal["none"] | Effort = "fast"
) -> dict[str, Any]:
    """Compare models, and the baselines of the first one, with the first one, over the records that all models have.

    A metric is computed over the same records for all models, and the interval of a difference from the same resamples
    for both models. Equal arguments give equal figures.

    Args:
        models: directories that `mmstream train` made.
        examples: one output of `mmstream preprocess` that fits all models, or one for each model, in the same order.
        split: "train", "validation" or "test"; baselines are fitted to the first, so there are none for it.
        baselines: which baselines are computed, of those that are not kept beside the first model.

    Returns:
        {"split", "records", "models", "heads", "retrieval", "not_comparable"}, ready for JSON: see docs/evaluation.md;
        and "no_baselines", why there are none although some are asked for.

    Raises:
        UsageError: there are fewer than two models, one is given twice, or there is not one folder of examples for all
            or one for each.
        MmstreamError: a folder is not what it should be, examples were made by other preprocessing, or the models share
            no record or nothing that can be compared.
    """
    _check_usage(models, examples)
    places = list(examples) * (len(models) if len(examples) == 1 else 1)
    opened = [load(path, embeddings=True) for path in models]
    for model, place in zip(opened, places, strict=True):
        check_examples(model, place)
    whole = [_predict(*each, split) for each in zip(names_of(models), opened, places, strict=True)]
    ids = _common_ids([each.predictions.ids for each in whole])
    if not ids:
        raise MmstreamError(f"the models share no records of the split {split!r}")
    contenders = [each.of(ids) for each in whole]
    refusals: list[Refusal] = []
    simple = ComparedBaselines.of(whole[0].predictions, whole[0].examples, split, baselines, ids)
    heads = dict(_compare_heads(contenders, refusals, simple))
    retrieval = dict(_compare_retrieval(contenders, refusals, simple))
    if not heads and not retrieval:
        lines = [f"  {refusal.what}: {refusal.model} {refusal.why}" for refusal in refusals]
        raise MmstreamError("\n".join(["nothing about these models can be compared:", *lines]))
    compared: dict[str, Any] = {
        "split": split,
        "records": len(ids),
        "models": {
            each.name: {
                "path": each.model.path,
                "fingerprint": each.model.fingerprint,
                "examples": each.examples,
                "left_out": len(each.predictions.ids) - len(ids),
            }
            for each in whole
        },
        "heads": heads,
        "retrieval": retrieval,
        "not_comparable": [dataclasses.asdict(refusal) for refusal in refusals],
    }
    return compared | ({"no_baselines": simple.why_none} if simple.why_none else {})


def names_of(paths: Sequence[str]) -> list[str]:
    """The names of models: those of their folders, or their whole paths where folders have the same name.

    >>> names_of(["/runs/a/model", "/runs/b/model", "/runs/small/"])
    ['/runs/a/model', '/runs/b/model', 'small']
    """
    whole = [files.absolute(path) for path in paths]
    counts = Counter(files.name(path) for path in whole)
    return [files.name(path) if counts[files.name(path)] == 1 else path for path in whole]


def table(comparison: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The result of `compare` as rows of `COLUMNS`; what a row repeats from the one above is left blank."""
    retrieval = ((f"retrieval {way}", each) for way, each in comparison["retrieval"].items())
    parts = [*comparison["heads"].items(), *retrieval]
    for what, part in parts:
        title: tuple[Any, ...] = (what, part["records"])
        for metric, by_model in part["metrics"].items():
            for model, figures in by_model.items():
                interval = f"[{_joined(figures['interval'])}]"
                yield *title, metric, model, figures["value"], interval, *_difference(figures)
                title, metric = ("", ""), ""


def _check_usage(models: Sequence[str], examples: Sequence[str]) -> None:
    if len(models) < 2:
        raise UsageError("name at least two models; `mmstream evaluate` measures a single one")
    real = [path.rstrip("/") if files.is_remote(path) else str(Path(path).resolve()) for path in models]
    for place, path in enumerate(real):
        if path in real[:place]:
            raise UsageError(f"the model {models[place]} is given twice")
    if len(examples) not in (1, len(models)):
        raise UsageError(
            f"give --examples once, or once for each of the {len(models)} models, in order; found {len(examples)}"
        )


def _predict(name: str, model: TrainedModel, examples: str, split: str) -> Contender:
    predictions = predict_split(model, examples, split)
    targets = predictions.targets
    aligned = {field for way in ways(model) for field in way}
    kept = {name: {key: targets[name][key] for key in ("present", "text") if key in targets[name]} for name in aligned}
    kept |= {head["target"]: targets[head["target"]] for head in model.heads.values()}
    return Contender(name, examples, dataclasses.replace(predictions, targets={**kept, "_id": predictions.ids}))


def _common_ids(ids: Sequence[np.ndarray]) -> list[str]:
    """The ids that all arrays contain, in the order of the first array."""
    common = set(ids[0]).intersection(*ids[1:])
    return [str(key) for key in ids[0] if key in common]


def _compare_heads(
    contenders: Sequence[Contender], refusals: list[Refusal], simple: ComparedBaselines
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each head that can be compared, with its target, number of records and `_side_by_side`."""
    first = contenders[0]
    for head in dict.fromkeys(name for each in contenders for name in each.model.heads):
        if head not in first.model.heads:
            refusals.append(Refusal(head, first.name, "has no such head"))
            continue
        outcome = first.outcome(head)
        rows, compared = outcome.rows, [first]
        for other in contenders[1:]:
            shared, why = _shared_rows(head, first, outcome, other, rows)
            if why:
                refusals.append(Refusal(head, other.name, why))
            else:
                rows, compared = shared, [*compared, other]
        if len(compared) > 1:
            metrics: dict[str, Metrics] = {
                each.name: HeadMetrics.of(each.model.head(head), each.outcome(head), rows) for each in compared
            }
            metrics |= simple.head(head, first.predictions, rows)
            target = first.model.heads[head]["target"]
            yield head, {"target": target, "records": len(rows), "metrics": _side_by_side(metrics, len(rows))}


def _shared_rows(
    head: str, first: Contender, outcome: Outcome, other: Contender, rows: np.ndarray
) -> tuple[np.ndarray, str]:
    """The rows that another model's head has, too, and the reason why it cannot be compared; "" if it can."""
    none = rows[:0]
    if head not in other.model.heads:
        return none, "has no such head"
    expected, target = first.model.heads[head]["target"], other.model.heads[head]["target"]
    if target != expected:
        return none, f"predicts {target!r}, not {expected!r}"
    theirs = other.outcome(head)
    if type(theirs) is not type(outcome):
        return none, f"predicts {type(theirs).__name__.lower()}, not {type(outcome).__name__.lower()}"
    shared = np.intersect1d(rows, theirs.rows)
    if not len(shared):
        return none, f"has no record in common with {first.name} whose target is known"
    if why := _why_unequal(_differ(_labels_of(outcome, shared), _labels_of(theirs, shared))):
        return none, why
    if not first.metrics(head, shared).keys() & other.metrics(head, shared).keys():
        return none, f"has no metric in common with {first.name}"
    return shared, ""


def _labels_of(outcome: Outcome, rows: np.ndarray) -> Any:
    """The labels that some rows have in the data, in words or units that another model's preprocessing shares."""
    places = np.searchsorted(outcome.rows, rows)
    if isinstance(outcome, Classes):
        return [{outcome.names[int(column)] for column in np.flatnonzero(row)} for row in outcome.targets[places]]
    if isinstance(outcome, Numbers):
        return outcome.targets[places]
    return [outcome.targets[int(place)] for place in places]


def _why_unequal(differs: np.ndarray) -> str:
    """Why models cannot be compared, given which of their labels in the data differ, bool[N]; "" if none differ."""
    return f"has different labels for {differs.sum():,} of {len(differs):,} records" if differs.any() else ""


def _differ(one: Any, other: Any) -> np.ndarray:
    """bool[N]: where two columns of labels differ; numbers that are equal up to float32 rounding count as equal."""
    if not isinstance(one, np.ndarray):
        return np.array([a != b for a, b in zip(one, other, strict=True)])
    if one.shape != other.shape:
        return np.ones(len(one), bool)
    return ~np.isclose(one, other, rtol=1e-4, atol=1e-5 * np.nanmax(np.abs(one)), equal_nan=True).all(1)


def _compare_retrieval(
    contenders: Sequence[Contender], refusals: list[Refusal], simple: ComparedBaselines
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each direction of retrieval that can be compared, with its records, its candidates and `_side_by_side`."""
    first, aligned = contenders[0], {each.name: ways(each.model) for each in contenders}
    for way in dict.fromkeys(way for each in contenders for way in aligned[each.name]):
        if way not in aligned[first.name]:
            refusals.append(Refusal(str(way), first.name, _NOT_ALIGNED))
            continue
        mask, compared = have_both(way, first.predictions.targets), [first]
        for other in contenders[1:]:
            shared, why = mask, _NOT_ALIGNED
            if way in aligned[other.name]:
                shared, why = _shared_searches(way, first, other, mask)
            if why:
                refusals.append(Refusal(str(way), other.name, why))
            else:
                mask, compared = shared, [*compared, other]
        if len(compared) > 1:
            search = Search.of(way, first.predictions.targets, mask)
            recalls: dict[str, Metrics] = {
                each.name: partial(recall, search.hits(each.predictions.outputs["embeddings"])) for each in compared
            }
            recalls |= simple.retrieval(str(way), len(search.rows))
            count = len(search.rows)
            about = {"records": count, "candidates": len(search.candidates)}
            yield str(way), {**about, "metrics": _side_by_side(recalls, count)}


def _shared_searches(way: Way, first: Contender, other: Contender, mask: np.ndarray) -> tuple[np.ndarray, str]:
    """The same as `_shared_rows` for a direction of retrieval; the rows are bool[N]."""
    shared = mask & have_both(way, other.predictions.targets)
    if not shared.any():
        return shared, f"has no record in common with {first.name} that has both fields"
    keys, theirs = (Search.of(way, each.predictions.targets, shared).keys for each in (first, other))
    return shared, _why_unequal(_differ(keys, theirs))


def _side_by_side(metrics: Mapping[str, Metrics], count: int) -> dict[str, Any]:
    """{metric: {model: {"value", "interval" and, for all but the first model, "difference"}}}."""
    first = next(iter(metrics))
    values = {model: of(np.arange(count)) for model, of in metrics.items()}
    resampled = {model: resample(of, count) for model, of in metrics.items()}
    by_metric: dict[str, Any] = {}
    for model, own in resampled.items():
        differences = {
            name: values[model][name] - values[first][name] for name in values[model] if name in values[first]
        }
        paired = intervals({name: own[name] - resampled[first][name] for name in differences}, differences)
        single = intervals(own, values[model])
        for name, (low, high) in paired.items():
            figures = {"value": values[model][name], "interval": single[name]}
            if model != first:
                figures["difference"] = {
                    "value": differences[name],
                    "interval": [low, high],
                    "excludes_0": low > 0 or high < 0,
                }
            by_metric.setdefault(name, {})[model] = figures
    return by_metric


def _difference(figures: Mapping[str, Any]) -> tuple[str, str, str]:
    """The last three cells of a row of `table`."""
    if "difference" not in figures:
        return "", "", ""
    difference = figures["difference"]
    interval = f"[{_joined(difference['interval'], '+')}]"
    return _joined([difference["value"]], "+"), interval, "yes" if difference["excludes_0"] else "no"


def _joined(values: Sequence[float], sign: str = "") -> str:
    return ", ".join(f"{value:{sign if value else ''}.3g}" for value in values)


def _taken(arrays: Any, rows: np.ndarray) -> Any:
    """Select rows of arrays in nested dicts."""
    return {key: _taken(each, rows) for key, each in arrays.items()} if isinstance(arrays, Mapping) else arrays[rows]
