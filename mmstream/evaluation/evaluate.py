"""Evaluation: how good a model's heads and its retrieval are on a split of the examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from mmstream.errors import MmstreamError
from mmstream.evaluation.ablation import WHOLE, ablations_of
from mmstream.evaluation.against_baselines import baselines_of, head_beside, outcomes_of, ways_beside, worse_than
from mmstream.evaluation.baseline_cache import Kept
from mmstream.evaluation.doubtful_labels import Doubt, find_doubtful, write_doubtful
from mmstream.evaluation.doubtful_report import show_doubtful
from mmstream.evaluation.intervals import bootstrap, intervals, resample
from mmstream.evaluation.outcomes import HeadMetrics, metrics_of, unseen
from mmstream.evaluation.predictions import Predictions, check_examples, predict_split
from mmstream.evaluation.reliability import all_metrics_of
from mmstream.evaluation.retrieval import recall, searches, written_first
from mmstream.evaluation.simple_models import Effort, Guess
from mmstream.evaluation.written import diversity
from mmstream.interfaces import Outcome, Texts
from mmstream.preprocessing import examples
from mmstream.storage import files
from mmstream.storage.json_files import write_json
from mmstream.trained_model.artefact import TrainedModel

CHECKED = 5_000
"""Of how many records of each split the labels are checked by default."""
_MARGIN = 0.02
"""A smaller difference in a metric causes no warning."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The evaluation of a model on a split.

    Attributes:
        predictions: the predictions for the split.
        metrics: the contents of metrics.json.
        outcomes: each head's labels and targets, by head.
        examples: output of `mmstream preprocess`.
        doubts: the records whose labels are doubted; None if none was checked.
    """

    predictions: Predictions
    metrics: dict[str, Any]
    outcomes: dict[str, Outcome]
    examples: str
    doubts: Sequence[Doubt] | None

    def write(self) -> str:
        """Write metrics.json, report.html and doubtful labels to MODEL/evaluation/<split>/; returns that folder."""
        from mmstream.evaluation.report import write_report

        model = self.predictions.model
        folder = _folder(model, self.metrics["split"])
        about = {
            **self.metrics,
            "model": files.name(model.path),
            "fingerprint": model.fingerprint,
            "history": model.history(),
            "best_epoch": model.about["best_epoch"],
        }
        targets, specs = self.predictions.targets, model.all_fields.specs
        doubtful = show_doubtful(self.doubts or (), self.examples, specs)
        write_report(files.join(folder, "report.html"), about, self.outcomes, targets, specs, doubtful)
        write_doubtful(folder, self.doubts)
        write_json(files.join(folder, "metrics.json"), self.metrics)
        return folder


def evaluate(
    model: TrainedModel,
    examples_path: str,
    split: str,
    baselines: Literal["none"] | Effort = "fast",
    check_labels: int = CHECKED,
) -> Evaluation:
    """Measure a model on a split, beside baselines.

    Args:
        model: opened with embeddings.
        examples_path: output of `mmstream preprocess`, made with the model's own preprocessing.
        split: "train", "validation" or "test"; baselines are fitted to the first, so there are none for it.
        baselines: which baselines are computed.
        check_labels: of how many records of each split the given labels are checked; 0 for none.

    Raises:
        MmstreamError: the examples were made by other preprocessing, the split is empty, or `check_labels` is negative.
    """
    if check_labels < 0:
        raise MmstreamError(f"check_labels: expected 0 or more; found {check_labels}")
    check_examples(model, examples_path)
    ablations = ablations_of(sorted({field for head in model.heads.values() for field in head["reads"]}))
    predictions = predict_split(model, examples_path, split, ablations)
    count = len(predictions.ids)
    if not count:
        raise MmstreamError(f"the split {split!r} of {examples_path} is empty")
    kept, why_none = baselines_of(predictions, examples_path, split, baselines)
    heads, outcomes = {}, {}
    for name in model.heads:
        heads[name], outcomes[name] = _evaluate_head(predictions, name, kept.heads.get(name, {}))
    written = {name: each for name, each in outcomes.items() if isinstance(each, Texts) and len(each.rows)}
    fields = sorted({model.heads[name]["target"] for name in written})
    known = written and examples.has_records(examples_path, "train")
    learnt = examples.texts(examples.shards_of(examples_path, "train"), fields) if known else {}
    for name, outcome in written.items():
        different = diversity(outcome, learnt.get(model.heads[name]["target"]))
        heads[name]["written"] = {**different, **written_first(predictions, name)}
    metrics = {"split": split, "records": count, "heads": heads, "retrieval": _retrieval(predictions, kept)}
    if why_none:
        metrics["no_baselines"] = why_none
    doubts = find_doubtful(predictions, examples_path, split, check_labels) if check_labels else None
    return Evaluation(predictions, metrics, outcomes, examples_path, doubts)


def _folder(model: TrainedModel, split: str) -> str:
    return files.join(model.path, "evaluation", split)


def _retrieval(predictions: Predictions, kept: Kept) -> dict[str, Any]:
    """Recall with its intervals, and baselines, for every direction with at least one query."""
    figures = {}
    for way, search in searches(predictions).items():
        hit = search.hits(predictions.outputs["embeddings"])
        resampled = bootstrap(partial(recall, hit), len(hit))
        figures[way] = {**recall(hit), "candidates": len(search.candidates), "intervals": resampled}
        if way in kept.retrieval:
            figures[way] |= ways_beside(hit, search, kept.retrieval[way])
            figures[way]["warnings"] = list(worse_than(figures[way]))
    return figures


def _evaluate_head(predictions: Predictions, name: str, guesses: Mapping[str, Guess]) -> tuple[dict[str, Any], Outcome]:
    """The entry of a head in metrics.json (metrics, intervals, baselines, ablations), and its outcome."""
    reads, layer = predictions.model.heads[name]["reads"], predictions.model.head(name)
    outcomes = {each: predictions.outcome(name, each) for each in predictions.ablated if each.field in ("", *reads)}
    outcome, count = outcomes[WHOLE], len(predictions.ids)
    metrics = all_metrics_of(layer, outcome)
    fields: dict[str, dict[str, float]] = {}
    for field in reads:  # over the records that have the field: an ablation changes nothing for the others
        having = np.flatnonzero(predictions.targets[field]["present"] > 0)
        ablated = {
            ablation.kind: metrics_of(layer, each, having)
            for ablation, each in outcomes.items()
            if ablation.field in ("", field)
        }
        if layer.metric in ablated["whole"]:
            main = {kind: each[layer.metric] for kind, each in ablated.items() if layer.metric in each}
            fields[field] = {"records": len(having), **main}
    vocabulary, target = predictions.model.fitted(name).vocabulary, predictions.target_of(name)
    simple = outcomes_of(guesses, layer, vocabulary, target, outcome.rows) if len(outcome.rows) else {}
    own = HeadMetrics.of(layer, outcome, np.arange(count))
    resampled = resample(own, count)
    beside = head_beside(simple, own, resampled)
    counts = {"records": len(outcome.rows), "unseen": unseen(outcome), "unread": predictions.unread(name)}
    return {
        **metrics,
        **counts,
        **beside,
        "reads": reads,
        "metric": layer.metric,
        "intervals": intervals(resampled, metrics),
        "fields": fields,
        "warnings": [
            *worse_than({**metrics, **beside}),
            *_warnings_of_counts(counts),
            *_warnings_of_fields(fields),
        ],
    }, outcome


def _warnings_of_counts(counts: Mapping[str, int]) -> Iterator[str]:
    """Warnings about the records on which a head is measured."""
    if not counts["records"]:
        yield "nothing is measured: no record of this split has both a target and a value that the head reads"
    if counts["unseen"]:
        yield (
            f"{counts['unseen']:,} of {counts['records']:,} records have a target that the vocabulary does not hold; "
            "each counts as a miss"
        )
    if counts["unread"]:
        yield f"{counts['unread']:,} records have a target, but no value that the head reads; they are not measured"


def _warnings_of_fields(fields: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Warnings about the fields that a head reads, from its metric under each ablation of each field."""
    for field, ablated in fields.items():
        whole = ablated["whole"]
        if ablated.get("alone", -np.inf) > whole + _MARGIN:
            yield f"{field} alone scores {ablated['alone']:.3f}, more than all fields together ({whole:.3f})"
        if len(fields) > 1 and ablated["shuffled"] > whole - _MARGIN:
            shuffled = ablated["shuffled"]
            yield f"{field} hardly matters: {shuffled:.3f} if shuffled between records, {whole:.3f} if not"
