"""Comparison: models side by side on the same records of a split, and how sure their differences are."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmstream import files
from mmstream.conditions import WHOLE
from mmstream.errors import MmstreamError, UsageError
from mmstream.evaluation import check_examples, head_metrics, head_outcome, predict_split
from mmstream.interfaces import Classes, Numbers, Outcome
from mmstream.intervals import Metrics, draws, intervals
from mmstream.retrieval import Search, Way, have_both, recall, ways
from mmstream.trained_model import TrainedModel, load

COLUMNS = ("what", "records", "metric", "model", "value", "interval", "difference", "interval", "excludes 0")
"""Of `table`."""
_NOT_ALIGNED = "has no objective that aligns them"


@dataclasses.dataclass(frozen=True)
class Measured:
    """A model that is compared, and what it made of the split.

    Attributes:
        name: of its folder, or its path where others are called so, too.
        model: the model.
        examples: where it got the records.
        outputs: by name, [N, …].
        targets: as `predict_split` gives them, with the fields that its heads predict and its objectives align alone.
    """

    name: str
    model: TrainedModel
    examples: str
    outputs: Mapping[str, Any]
    targets: Mapping[str, Any]

    def of(self, ids: Sequence[str]) -> Measured:
        """The same with these records alone, in this order."""
        places = {key: place for place, key in enumerate(self.targets["_id"])}
        rows = np.array([places[key] for key in ids])
        return dataclasses.replace(self, outputs=_chosen(self.outputs, rows), targets=_chosen(self.targets, rows))

    def metrics(self, head: str, rows: np.ndarray) -> dict[str, float]:
        """Of a head over some records."""
        return head_metrics(self.model, head, self.outputs, self.targets, rows)

    def outcome(self, head: str) -> Outcome:
        """Of a head over the records whose target is known and which the model could read."""
        return head_outcome(self.model, head, self.outputs, self.targets)


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A model that is not compared with the first one in something, and why.

    Attributes:
        what: a head, or a way of retrieval as "image->text".
        model: its name.
        why: what it lacks or does otherwise.
    """

    what: str
    model: str
    why: str


def compare(models: Sequence[str], examples: Sequence[str], split: str) -> dict[str, Any]:
    """Compare models with the first of them, over the records that all of them have in a split.

    A metric is taken over the same records for all models, and the intervals of differences are of the same draws for
    both models. All figures are the same ones for equal arguments.

    Args:
        models: directories that `mmstream train` made.
        examples: output of `mmstream preprocess` that fits them all, or one for each, in their order.
        split: "train", "validation" or "test".

    Returns:
        {"split", "records", "models", "heads", "retrieval", "not_comparable"}, ready for JSON: see docs/evaluation.md.

    Raises:
        UsageError: there are fewer than two models, one is given twice, or there are neither one nor as many examples.
        MmstreamError: a folder is not what it should be, examples were made by other preprocessing, or the models have
            no record, or nothing that could be compared, in common.
    """
    _check_usage(models, examples)
    places = list(examples) * (len(models) if len(examples) == 1 else 1)
    opened = [load(path, embeddings=True) for path in models]
    for model, place in zip(opened, places, strict=True):
        check_examples(model, place)
    all_there = [_predict(*each, split) for each in zip(names_of(models), opened, places, strict=True)]
    ids = _common_ids([each.targets["_id"] for each in all_there])
    if not ids:
        raise MmstreamError(f"the models have no record of the split {split!r} in common")
    measured = [each.of(ids) for each in all_there]
    refusals: list[Refusal] = []
    heads = dict(_compare_heads(measured, refusals))
    retrieval = dict(_compare_retrieval(measured, refusals))
    if not heads and not retrieval:
        lines = [f"  {refusal.what}: {refusal.model} {refusal.why}" for refusal in refusals]
        raise MmstreamError("\n".join(["nothing of these models can be compared:", *lines]))
    return {
        "split": split,
        "records": len(ids),
        "models": {
            each.name: {
                "path": each.model.path,
                "fingerprint": each.model.fingerprint,
                "examples": each.examples,
                "left_out": len(each.targets["_id"]) - len(ids),
            }
            for each in all_there
        },
        "heads": heads,
        "retrieval": retrieval,
        "not_comparable": [dataclasses.asdict(refusal) for refusal in refusals],
    }


def names_of(paths: Sequence[str]) -> list[str]:
    """What models are called: by their folders' names, or by their whole paths where these are equal.

    >>> names_of(["/runs/a/model", "/runs/b/model", "/runs/small/"])
    ['/runs/a/model', '/runs/b/model', 'small']
    """
    whole = [files.absolute(path) for path in paths]
    counts = Counter(files.name(path) for path in whole)
    return [files.name(path) if counts[files.name(path)] == 1 else path for path in whole]


def table(found: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """What `compare` found as rows of `COLUMNS`; what a row has in common with the one above it is left out."""
    parts = [*found["heads"].items(), *((f"retrieval {way}", each) for way, each in found["retrieval"].items())]
    for what, part in parts:
        title: tuple[Any, ...] = (what, part["records"])
        for metric, by_model in part["metrics"].items():
            for model, figures in by_model.items():
                interval = f"[{_told(figures['interval'])}]"
                yield *title, metric, model, figures["value"], interval, *_difference(figures)
                title, metric = ("", ""), ""


def _check_usage(models: Sequence[str], examples: Sequence[str]) -> None:
    if len(models) < 2:
        raise UsageError("name two models or more; `mmstream evaluate` measures a single one")
    real = [path.rstrip("/") if files.is_remote(path) else str(Path(path).resolve()) for path in models]
    for place, path in enumerate(real):
        if path in real[:place]:
            raise UsageError(f"the model {models[place]} is given twice")
    if len(examples) not in (1, len(models)):
        raise UsageError(
            f"give --examples once, or once for each of the {len(models)} models in their order; found {len(examples)}"
        )


def _predict(name: str, model: TrainedModel, examples: str, split: str) -> Measured:
    outputs, targets = predict_split(model, examples, split)
    aligned = {field for way in ways(model) for field in way}
    kept = {name: {key: targets[name][key] for key in ("present", "text") if key in targets[name]} for name in aligned}
    kept |= {head["target"]: targets[head["target"]] for head in model.heads.values()}
    return Measured(name, model, examples, outputs[WHOLE], {**kept, "_id": targets["_id"]})


def _common_ids(ids: Sequence[np.ndarray]) -> list[str]:
    """The ids that are in all of some arrays, in the order of the first."""
    common = set(ids[0]).intersection(*ids[1:])
    return [str(key) for key in ids[0] if key in common]


def _compare_heads(measured: Sequence[Measured], refusals: list[Refusal]) -> Iterator[tuple[str, dict[str, Any]]]:
    """For each head of which there is something to compare: its target, its records and `_side_by_side`."""
    first = measured[0]
    for head in dict.fromkeys(name for each in measured for name in each.model.heads):
        if head not in first.model.heads:
            refusals.append(Refusal(head, first.name, "has no such head"))
            continue
        outcome = first.outcome(head)
        rows, compared = outcome.rows, [first]
        for other in measured[1:]:
            shared, why = _shared_rows(head, first, outcome, other, rows)
            if why:
                refusals.append(Refusal(head, other.name, why))
            else:
                rows, compared = shared, [*compared, other]
        if len(compared) > 1:
            metrics = {each.name: partial(_of_rows, each, head, rows) for each in compared}
            target = first.model.heads[head]["target"]
            yield head, {"target": target, "records": len(rows), "metrics": _side_by_side(metrics, len(rows))}


def _of_rows(candidate: Measured, head: str, rows: np.ndarray, drawn: np.ndarray) -> dict[str, float]:
    return candidate.metrics(head, rows[drawn])


def _shared_rows(
    head: str, first: Measured, outcome: Outcome, other: Measured, rows: np.ndarray
) -> tuple[np.ndarray, str]:
    """Those of some rows that another model's head has, too; and why it cannot be compared, "" where it can."""
    none = rows[:0]
    if head not in other.model.heads:
        return none, "has no such head"
    wanted, target = first.model.heads[head]["target"], other.model.heads[head]["target"]
    if target != wanted:
        return none, f"predicts {target!r}, not {wanted!r}"
    theirs = other.outcome(head)
    if type(theirs) is not type(outcome):
        return none, f"gives {type(theirs).__name__.lower()}, not {type(outcome).__name__.lower()}"
    shared = np.intersect1d(rows, theirs.rows)
    if not len(shared):
        return none, f"and {first.name} share no record whose target is known"
    if why := _told_otherwise(_differ(_wanted(outcome, shared), _wanted(theirs, shared))):
        return none, why
    if not first.metrics(head, shared).keys() & other.metrics(head, shared).keys():
        return none, f"has no metric in common with {first.name}"
    return shared, ""


def _wanted(outcome: Outcome, rows: np.ndarray) -> Any:
    """What is true of some rows of an outcome, in words or units that another model's preprocessing shares."""
    places = np.searchsorted(outcome.rows, rows)
    if isinstance(outcome, Classes):
        return [{outcome.names[int(column)] for column in np.flatnonzero(row)} for row in outcome.wanted[places]]
    if isinstance(outcome, Numbers):
        return outcome.wanted[places]
    return [outcome.wanted[int(place)] for place in places]


def _told_otherwise(differs: np.ndarray) -> str:
    """Why models cannot be compared whose preprocessing says so of their records, "" where it says the same of all."""
    return f"was told other true values for {differs.sum():,} of {len(differs):,} records" if differs.any() else ""


def _differ(one: Any, other: Any) -> np.ndarray:
    """bool[N]: where two columns of true values differ; numbers may by what float32 loses."""
    if not isinstance(one, np.ndarray):
        return np.array([a != b for a, b in zip(one, other, strict=True)])
    if one.shape != other.shape:
        return np.ones(len(one), bool)
    return ~np.isclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(one).max()).all(1)


def _compare_retrieval(measured: Sequence[Measured], refusals: list[Refusal]) -> Iterator[tuple[str, dict[str, Any]]]:
    """For each way on which there is something to compare: its records, candidates and `_side_by_side`."""
    first, aligned = measured[0], {each.name: ways(each.model) for each in measured}
    for way in dict.fromkeys(way for each in measured for way in aligned[each.name]):
        if way not in aligned[first.name]:
            refusals.append(Refusal(str(way), first.name, _NOT_ALIGNED))
            continue
        there, compared = have_both(way, first.targets), [first]
        for other in measured[1:]:
            shared, why = there, _NOT_ALIGNED
            if way in aligned[other.name]:
                shared, why = _shared_searches(way, first, other, there)
            if why:
                refusals.append(Refusal(str(way), other.name, why))
            else:
                there, compared = shared, [*compared, other]
        if len(compared) > 1:
            search = Search.of(way, first.targets, there)
            recalls = {each.name: partial(recall, search.hits(each.outputs["embeddings"])) for each in compared}
            count = len(search.rows)
            about = {"records": count, "candidates": len(search.candidates)}
            yield str(way), {**about, "metrics": _side_by_side(recalls, count)}


def _shared_searches(way: Way, first: Measured, other: Measured, there: np.ndarray) -> tuple[np.ndarray, str]:
    """As `_shared_rows`, bool[N]."""
    shared = there & have_both(way, other.targets)
    if not shared.any():
        return shared, f"and {first.name} share no record that has both fields"
    keys, theirs = (Search.of(way, each.targets, shared).keys for each in (first, other))
    return shared, _told_otherwise(_differ(keys, theirs))


def _side_by_side(metrics: Mapping[str, Metrics], count: int) -> dict[str, Any]:
    """{metric: {model: {"value", "interval", and of all but the first "difference"}}} of metrics by model."""
    first = next(iter(metrics))
    values = {model: of(np.arange(count)) for model, of in metrics.items()}
    drawn = {model: draws(of, count) for model, of in metrics.items()}
    found: dict[str, Any] = {}
    for model, own in drawn.items():
        differences = {
            name: values[model][name] - values[first][name] for name in values[model] if name in values[first]
        }
        paired = intervals({name: own[name] - drawn[first][name] for name in differences}, differences)
        single = intervals(own, values[model])
        for name, (low, high) in paired.items():
            figures = {"value": values[model][name], "interval": single[name]}
            if model != first:
                figures["difference"] = {
                    "value": differences[name],
                    "interval": [low, high],
                    "excludes_0": low > 0 or high < 0,
                }
            found.setdefault(name, {})[model] = figures
    return found


def _difference(figures: Mapping[str, Any]) -> tuple[str, str, str]:
    """The last three cells of a row."""
    if "difference" not in figures:
        return "", "", ""
    found = figures["difference"]
    return _told([found["value"]], "+"), f"[{_told(found['interval'], '+')}]", "yes" if found["excludes_0"] else "no"


def _told(values: Sequence[float], sign: str = "") -> str:
    return ", ".join(f"{value:{sign if value else ''}.3g}" for value in values)


def _chosen(arrays: Any, rows: np.ndarray) -> Any:
    """Some rows of arrays in nested dicts."""
    return {key: _chosen(each, rows) for key, each in arrays.items()} if isinstance(arrays, Mapping) else arrays[rows]
