"""A model's predictions for a split of the examples, and the targets: every figure is computed from these."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmstream.errors import MmstreamError
from mmstream.evaluation.ablation import WHOLE, Ablation
from mmstream.evaluation.outcomes import TrainedHead, has_value, outcome_of
from mmstream.interfaces import Outcome
from mmstream.preprocessing import examples
from mmstream.preprocessing.padding import absent, padded_to
from mmstream.preprocessing.preprocessor import PRESENT
from mmstream.records.record import SPLITS
from mmstream.storage import files
from mmstream.trained_model.artefact import TrainedModel


@dataclasses.dataclass(frozen=True)
class Predictions:
    """A model's outputs for N records of a split, and their targets; see `predict_split`.

    Attributes:
        model: the model that predicted.
        ablated: named outputs, numpy [N, …], by ablation.
        targets: {field: {tensor: [N, …], "given": object[N], the values in the form of labels (None if absent),
            "text": object[N] if the field is text}} with "_id": str[N].
    """

    model: TrainedModel
    ablated: Mapping[Ablation, Mapping[str, Any]]
    targets: Mapping[str, Any]

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The outputs without an ablation."""
        return self.ablated[WHOLE]

    @property
    def ids(self) -> np.ndarray:
        """str[N]: the ids of the records."""
        ids: np.ndarray = self.targets["_id"]
        return ids

    def target_of(self, head: str) -> Mapping[str, Any]:
        """The target of a head: {tensor: [N, …]}."""
        target: Mapping[str, Any] = self.targets[self.model.heads[head]["target"]]
        return target

    def outcome(self, head: str, ablation: Ablation = WHOLE) -> Outcome:
        """A head's labels and targets, for the records that have a target and that the head could read."""
        outputs = self.ablated[ablation]
        target = dict(self.target_of(head))
        target["present"] = target["present"] * (outputs[PRESENT][head] > 0)
        model = self.model
        trained = TrainedHead(model.head(head), model.fitted(head), model.calibration[head])
        return outcome_of(trained, outputs["heads"][head], target)

    def unread(self, head: str) -> int:
        """The number of records that have a target but nothing that the head reads, so that they get no label."""
        return int((has_value(self.target_of(head)) & (self.outputs[PRESENT][head] == 0)).sum())


def predict_split(
    model: TrainedModel, examples_path: str, split: str, ablations: Sequence[Ablation] = ()
) -> Predictions:
    """Predict a split of the examples.

    Args:
        model: the model that predicts.
        examples_path: output of `mmstream preprocess`.
        split: "train", "validation" or "test".
        ablations: ablations to predict with, too; for these, only the outputs of the heads are kept.

    Raises:
        MmstreamError: there is no such split, or the examples do not say what value each record has.
    """
    import tensorflow as tf

    specs = model.all_fields.specs
    if split not in SPLITS:
        raise MmstreamError(f"there is no split {split!r}; available: {', '.join(SPLITS)}")
    serialised = examples.read_examples(examples.shards_of(examples_path, split)).batch(model.batch)
    names = ["_id", *(f"{kind}/{field}" for kind in ("_text", "_given") for field in specs)]
    ablated: dict[Ablation, list[Any]] = {ablation: [] for ablation in (WHOLE, *ablations)}
    targets: list[Any] = []
    for batch in serialised:
        tensors = tf.nest.map_structure(lambda t: t.numpy(), examples.parse(batch, specs))
        count = int(batch.shape[0])
        padded = padded_to(model.batch, {name: tensors[name] for name in model.preprocessor.fields})
        for ablation, batches in ablated.items():
            outputs = model.predict(ablation(padded, count))
            kept = outputs if ablation == WHOLE else {key: outputs[key] for key in ("heads", PRESENT)}
            batches.append(tf.nest.map_structure(lambda value, n=count: value[:n], kept))
        targets.append({**tensors, "_texts": dict(zip(names, map(_objects, examples.told(batch, names)), strict=True))})
    if not targets:
        return _of_no_records(model, list(ablated))
    joined = tf.nest.map_structure(_concatenated, *targets)
    texts = joined.pop("_texts")
    joined["_id"] = texts["_id"].astype(str)
    for field in specs:
        if any(texts[f"_text/{field}"]):
            joined[field]["text"] = texts[f"_text/{field}"]
        joined[field]["given"] = examples.as_given(texts[f"_text/{field}"], texts[f"_given/{field}"])
    for head in model.heads.values():
        _check_given(head["target"], joined[head["target"]], examples_path)
    outputs_by_ablation = {
        ablation: tf.nest.map_structure(_concatenated, *batches) for ablation, batches in ablated.items()
    }
    return Predictions(model, outputs_by_ablation, joined)


def check_examples(model: TrainedModel, examples_path: str) -> None:
    """Check that the examples were made by this model's preprocessing.

    Raises:
        MmstreamError: they were not.
    """
    ours = files.join(model.path, "transform", "fingerprint")
    theirs = files.join(examples_path, "transform", "fingerprint")
    if not files.exists(theirs):
        raise MmstreamError(f"{examples_path} is not an output of `mmstream preprocess`")
    if files.read_bytes(ours) != files.read_bytes(theirs):
        raise MmstreamError(
            f"the examples in {examples_path} were not made by the model's preprocessing, so the model's vocabularies "
            "would not fit them. Evaluate on the examples that the model was trained on"
        )


def _check_given(field: str, target: Mapping[str, Any], examples_path: str) -> None:
    """Check that the examples hold the value that each record with a target was given.

    Raises:
        MmstreamError: they do not.
    """
    lacking = (target["present"] > 0) & ~has_value(target)
    if lacking.any():
        raise MmstreamError(
            f"the examples in {examples_path} do not record what {lacking.sum():,} records contain for {field!r}: they "
            "were written by an earlier version of mmstream, or the field has no `given`; run `mmstream preprocess` "
            "with a new --output"
        )


def _of_no_records(model: TrainedModel, ablations: Sequence[Ablation]) -> Predictions:
    import tensorflow as tf

    outputs = model.predict(absent(model.preprocessor.specs, model.batch))
    nothing = tf.nest.map_structure(lambda value: value[:0], outputs)
    targets = absent(model.all_fields.specs, 0)
    given = {field: {**tensors, "given": np.array([], object)} for field, tensors in targets.items()}
    return Predictions(model, dict.fromkeys(ablations, nothing), {**given, "_id": np.array([], str)})


def _objects(texts: list[str]) -> np.ndarray:
    return np.array(texts, object)


def _concatenated(*arrays: np.ndarray) -> np.ndarray:
    return np.concatenate(arrays)
