"""Evaluation: what a model's heads and its shared space are worth on a split of the examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmstream import examples, files
from mmstream.conditions import WHOLE, Condition, conditions_for
from mmstream.errors import MmstreamError
from mmstream.interfaces import Classes, Outcome, Texts
from mmstream.intervals import bootstrap
from mmstream.json_files import write_json
from mmstream.preprocessing import PRESENT, absent
from mmstream.records import SPLITS
from mmstream.reliability import expected_calibration_error
from mmstream.retrieval import retrievals, written_first
from mmstream.trained_model import TrainedModel
from mmstream.written import diversity

Rows = np.ndarray | slice
ALL_ROWS = slice(None)
_MARGIN = 0.02
"""Differences of a metric that nobody is warned of."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a model is worth on a split.

    Attributes:
        model: the model.
        metrics: what stands in metrics.json.
        outcomes: what each head gave beside what was wanted.
        targets: the records, as `predict_split` gives them.
    """

    model: TrainedModel
    metrics: dict[str, Any]
    outcomes: dict[str, Outcome]
    targets: dict[str, Any]

    def write(self) -> str:
        """Write metrics.json and report.html to MODEL/evaluation/<split>/; returns that folder."""
        from mmstream.report import write_report

        folder = files.join(self.model.path, "evaluation", self.metrics["split"])
        about = {
            **self.metrics,
            "model": files.name(self.model.path),
            "fingerprint": self.model.fingerprint,
            "history": self.model.history(),
            "best_epoch": self.model.about["best_epoch"],
        }
        specs = self.model.all_fields.specs
        write_report(files.join(folder, "report.html"), about, self.outcomes, self.targets, specs)
        write_json(files.join(folder, "metrics.json"), self.metrics)
        return folder


def evaluate(model: TrainedModel, examples_path: str, split: str) -> Evaluation:
    """Measure a model on a split.

    Args:
        model: opened with embeddings.
        examples_path: output of `mmstream preprocess`, made with the model's own preprocessing.
        split: "train", "validation" or "test".

    Raises:
        MmstreamError: the examples were made by other preprocessing, or the split is empty.
    """
    check_examples(model, examples_path)
    tried = conditions_for(sorted({field for head in model.heads.values() for field in head["reads"]}))
    outputs, targets = predict_split(model, examples_path, split, [WHOLE, *tried])
    count = len(targets["_id"])
    if not count:
        raise MmstreamError(f"the split {split!r} of {examples_path} is empty")
    heads, outcomes = {}, {}
    for name in model.heads:
        heads[name], outcomes[name] = _evaluate_head(model, name, outputs, targets, tried)
    written = {name: each for name, each in outcomes.items() if isinstance(each, Texts) and len(each.rows)}
    fields = sorted({model.heads[name]["target"] for name in written})
    learnt = examples.texts(examples.shards_of(examples_path, "train"), fields) if written else {}
    for name, outcome in written.items():
        different = diversity(outcome, learnt[model.heads[name]["target"]])
        heads[name]["written"] = {**different, **written_first(model, name, outputs[WHOLE], targets)}
    found = retrievals(model, outputs[WHOLE], targets)
    metrics = {"split": split, "records": count, "heads": heads, "retrieval": found}
    return Evaluation(model, metrics, outcomes, targets)


def _evaluate_head(
    model: TrainedModel,
    name: str,
    outputs: Mapping[Condition, Mapping[str, Any]],
    targets: Mapping[str, Any],
    tried: Sequence[Condition],
) -> tuple[dict[str, Any], Outcome]:
    """Metrics of a head, their intervals, what its main one comes to when its fields are tampered with; and rows."""
    reads, layer = model.heads[name]["reads"], model.head(name)

    def metrics(condition: Condition, rows: Rows = ALL_ROWS) -> dict[str, float]:
        return head_metrics(model, name, outputs[condition], targets, rows)

    whole = metrics(WHOLE)
    fields: dict[str, dict[str, float]] = {}
    for field in reads:
        has_it = np.flatnonzero(targets[field]["present"] > 0)  # or the figures would be of other records than its own
        found = {c.kind: metrics(c, has_it) for c in (WHOLE, *tried) if c.field in ("", field)}
        if layer.metric in found["whole"]:
            chosen = {kind: each[layer.metric] for kind, each in found.items() if layer.metric in each}
            fields[field] = {"records": len(has_it), **chosen}
    outcome = head_outcome(model, name, outputs[WHOLE], targets)
    if isinstance(outcome, Classes) and len(outcome.rows):
        whole["ece"] = expected_calibration_error(outcome)
    return {
        **whole,
        "reads": reads,
        "metric": layer.metric,
        "intervals": bootstrap(lambda rows: metrics(WHOLE, rows), len(targets["_id"])),
        "fields": fields,
        "warnings": list(_warnings(fields)),
    }, outcome


def head_metrics(
    model: TrainedModel, name: str, outputs: Mapping[str, Any], targets: Mapping[str, Any], rows: Rows = ALL_ROWS
) -> dict[str, float]:
    """Metrics of a head over some rows of a split; those that it could not read, or whose target is missing, are out.

    Args:
        model: the model.
        name: of the head.
        outputs: as `predict_split` gives them, under one condition.
        targets: as `predict_split` gives them.
        rows: which of them count; all by default.
    """
    found = model.head(name).evaluate(*_given(model, name, outputs, targets, rows))
    return {key: float(value) for key, value in found.items()}


def head_outcome(model: TrainedModel, name: str, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Outcome:
    """What a head gave beside what was wanted, of the same rows as `head_metrics`."""
    outcome: Outcome = model.head(name).outcome(*_given(model, name, outputs, targets, ALL_ROWS))
    return outcome


def _given(
    model: TrainedModel, name: str, outputs: Mapping[str, Any], targets: Mapping[str, Any], rows: Rows
) -> tuple[Any, ...]:
    """What a head's `evaluate` and `outcome` take."""
    predictions = {key: value[rows] for key, value in outputs["heads"][name].items()}
    target = {key: value[rows] for key, value in targets[model.heads[name]["target"]].items()}
    target["present"] = target["present"] * (outputs["present"][name][rows] > 0)
    return predictions, target, model.fitted(name), model.calibration[name]


def _warnings(fields: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """What a user should know of a head that reads several fields, by its metric with each of them."""
    for field, found in fields.items():
        whole = found["whole"]
        if found.get("alone", -np.inf) > whole + _MARGIN:
            yield f"{field} alone gives {found['alone']:.3f}, more than all fields together, {whole:.3f}"
        if len(fields) > 1 and found["shuffled"] > whole - _MARGIN:
            yield f"{field} hardly counts: that of other records gives {found['shuffled']:.3f}, its own {whole:.3f}"


def check_examples(model: TrainedModel, examples_path: str) -> None:
    """The examples hold tensors as this model's preprocessing makes them.

    Raises:
        MmstreamError: they do not.
    """
    ours = files.join(model.path, "transform", "fingerprint")
    theirs = files.join(examples_path, "transform", "fingerprint")
    if not files.exists(theirs):
        raise MmstreamError(f"{examples_path} is not an output of `mmstream preprocess`")
    if files.read_bytes(ours) != files.read_bytes(theirs):
        raise MmstreamError(
            f"the examples in {examples_path} were made by other preprocessing than the model's; its vocabularies "
            "would not fit. Evaluate on the examples that it was trained from"
        )


def predict_split(
    model: TrainedModel, examples_path: str, split: str, conditions: Sequence[Condition] = (WHOLE,)
) -> tuple[dict[Condition, dict[str, Any]], dict[str, Any]]:
    """A model's outputs on a split, and what was to be predicted.

    Args:
        model: that predicts.
        examples_path: output of `mmstream preprocess`.
        split: "train", "validation" or "test".
        conditions: under which it does; the whole records among them.

    Returns:
        for each condition, named outputs as numpy [N, …]; and {field: {tensor: [N, …], "text": N texts where the field
        is one}} with "_id": N ids.
    """
    import tensorflow as tf

    preprocessor = model.all_fields
    specs = preprocessor.specs
    if split not in SPLITS:
        raise MmstreamError(f"there is no split {split!r}; there is {', '.join(SPLITS)}")
    serialised = examples.read_examples(examples.shards_of(examples_path, split)).batch(model.batch)
    names = ["_id", *(f"_text/{field}" for field in specs)]
    outputs: dict[Condition, list[Any]] = {condition: [] for condition in conditions}
    targets: list[Any] = []
    for batch in serialised:
        tensors = tf.nest.map_structure(lambda t: t.numpy(), examples.parse(batch, specs))
        count = int(batch.shape[0])
        padded = {
            name: {k: _pad(v, model.batch) for k, v in tensors[name].items()} for name in model.preprocessor.fields
        }
        for condition, collected in outputs.items():
            found = model.predict(condition(padded, count))
            kept = found if condition == WHOLE else {key: found[key] for key in ("heads", PRESENT)}
            collected.append(tf.nest.map_structure(lambda value, n=count: value[:n], kept))
        texts = {key: value.numpy() for key, value in examples.parse_texts(batch, names).items()}
        targets.append({**tensors, "_texts": texts})
    if not targets:
        whole, none = _empty(model, specs)
        return dict.fromkeys(conditions, whole), none
    joined = tf.nest.map_structure(_concatenated, *targets)
    texts = joined.pop("_texts")
    joined["_id"] = np.array([value.decode() for value in texts["_id"]])
    for field in specs:
        values = texts[f"_text/{field}"]
        if any(values):
            joined[field]["text"] = np.array([value.decode() for value in values], object)
    return {condition: tf.nest.map_structure(_concatenated, *found) for condition, found in outputs.items()}, joined


def _empty(model: TrainedModel, specs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Outputs and targets of no records."""
    import tensorflow as tf

    nothing = absent(model.preprocessor.specs, model.batch)
    outputs = tf.nest.map_structure(lambda value: value[:0], model.predict(nothing))
    return outputs, {**absent(specs, 0), "_id": np.array([], str)}


def _concatenated(*arrays: np.ndarray) -> np.ndarray:
    return np.concatenate(arrays)


def _pad(array: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])
