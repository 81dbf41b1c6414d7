"""The records whose labels are checked, as simple models and the network see them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmstream.config.schema import FUSED
from mmstream.evaluation.picture_gradients import gradients
from mmstream.evaluation.predictions import Predictions
from mmstream.evaluation.simple_features import MOST_RECORDS, Records, read_records
from mmstream.interfaces import Spec
from mmstream.preprocessing import examples
from mmstream.preprocessing.padding import padded_to
from mmstream.preprocessing.preprocessor import PRESENT
from mmstream.trained_model.artefact import TrainedModel

_BATCH = 256


@dataclasses.dataclass(frozen=True)
class CheckedRecords:
    """N records of a split.

    Attributes:
        ids: N ids.
        records: as baselines read them.
        shapes: {field: float32[N, F]}, the gradients of pictures; 0 where there is none.
        vectors: {head: float32[N, D]}, where the network places a record, by the fields that the head reads.
        readable: {head: bool[N]}, whether a record has any of these fields.
        probabilities: {head: float32[N, V]}, what the network predicts; {} for records on which it was trained.
    """

    ids: Sequence[str]
    records: Records
    shapes: Mapping[str, np.ndarray]
    vectors: Mapping[str, np.ndarray]
    readable: Mapping[str, np.ndarray]
    probabilities: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.ids)


def training_records(model: TrainedModel, examples_path: str, heads: Sequence[str], most: int) -> CheckedRecords:
    """Read records of the training split, and let the network embed them.

    Args:
        model: opened with embeddings.
        examples_path: output of `mmstream preprocess`.
        heads: whose labels are checked.
        most: so many records at most; also at most as many as baselines read.
    """
    specs, most = model.preprocessor.specs, min(most, MOST_RECORDS)
    serialised = examples.read_examples(examples.shards_of(examples_path, "train")).take(most)
    ids: list[str] = []
    parts: list[tuple[dict[str, np.ndarray], ...]] = []
    for batch in serialised.batch(model.batch):
        parsed = examples.parse(batch, specs)
        tensors = {f: {name: tensor.numpy() for name, tensor in each.items()} for f, each in parsed.items()}
        outputs = model.predict(padded_to(model.batch, tensors))
        ids += examples.told(batch, ["_id"])[0]
        parts.append((_shapes(tensors, specs), *_placed(model, outputs, heads, int(batch.shape[0]))))
    shapes, vectors, readable = (_joined([part[n] for part in parts]) for n in range(3))
    return CheckedRecords(ids, _records(model, examples_path, "train", heads, len(ids)), shapes, vectors, readable, {})


def measured_records(
    predictions: Predictions, examples_path: str, split: str, heads: Sequence[str], most: int
) -> CheckedRecords:
    """The first records of a split that was measured.

    Args:
        predictions: those of the split.
        examples_path: output of `mmstream preprocess`.
        split: "validation" or "test".
        heads: whose labels are checked.
        most: so many records at most.
    """
    model, outputs, count = predictions.model, predictions.outputs, min(len(predictions.ids), most)
    specs = model.preprocessor.specs
    shapes = []
    for start in range(0, count, _BATCH):
        rows = slice(start, min(start + _BATCH, count))
        tensors = {f: {name: predictions.targets[f][name][rows] for name in spec} for f, spec in specs.items()}
        shapes.append(_shapes(tensors, specs))
    probabilities = {
        head: model.head(head).probabilities({name: value[:count] for name, value in outputs["heads"][head].items()})
        for head in heads
    }
    placed = _placed(model, outputs, heads, count)
    records = _records(model, examples_path, split, heads, count)
    ids = [str(key) for key in predictions.ids[:count]]
    return CheckedRecords(ids, records, _joined(shapes), *placed, probabilities)


def picture_fields(specs: Mapping[str, Spec]) -> Iterator[tuple[str, str]]:
    """The fields that are pictures, each with the name of its pixels."""
    for field, spec in specs.items():
        for name, (shape, dtype) in spec.items():
            if dtype == "uint8" and len(shape) == 3:
                yield field, name


def _shapes(tensors: Mapping[str, Mapping[str, np.ndarray]], specs: Mapping[str, Spec]) -> dict[str, np.ndarray]:
    return {
        field: gradients(tensors[field][name]) * (tensors[field][PRESENT] > 0)[:, None]
        for field, name in picture_fields(specs)
    }


def _placed(
    model: TrainedModel, outputs: Mapping[str, Any], heads: Sequence[str], count: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The vectors and the presence of the first records in some outputs, by head."""
    everything = sorted(model.config.model.encoders)
    vectors = {}
    for head in heads:
        reads = sorted(model.heads[head]["reads"])
        fused = FUSED in outputs and len(reads) > 1 and reads == everything
        parts = [outputs[FUSED]] if fused else [outputs["embeddings"][field] for field in reads]
        vectors[head] = np.concatenate(parts, -1)[:count].astype(np.float32)
    return vectors, {head: outputs[PRESENT][head][:count] > 0 for head in heads}


def _records(model: TrainedModel, examples_path: str, split: str, heads: Sequence[str], count: int) -> Records:
    """The first records of a split, as baselines read them."""
    inputs = {field for head in heads for field in model.heads[head]["reads"]}
    targets = {model.heads[head]["target"] for head in heads}
    read = read_records(examples_path, split, model.all_fields.specs, inputs, targets)
    parts = ("values", "codes", "present")
    columns = {
        name: dataclasses.replace(column, **{part: getattr(column, part)[:count] for part in parts})
        for name, column in read.columns.items()
    }
    return Records(columns, {name: values[:count] for name, values in read.given.items()})


def _joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
