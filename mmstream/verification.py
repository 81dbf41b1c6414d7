"""Records of one's own through every path to a model, and how far these lie apart."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mmstream import components, examples, files, golden
from mmstream.concurrency import Workers
from mmstream.config import SplitConfig
from mmstream.errors import MmstreamError, RecordError
from mmstream.golden import Difference
from mmstream.media import Media
from mmstream.preprocessing import Preprocessor
from mmstream.records import Record
from mmstream.stages.label import Draft, label_drafts, read_part
from mmstream.stages.preprocess import preprocess_part
from mmstream.stages.reading import Input, check_row, first_of_each, pieces_of, rows_of
from mmstream.trained_model import TrainedModel

_TRAIN_ALL = SplitConfig(validation=0.0, test=0.0)


def verify_records(model: TrainedModel, job_input: Input, count: int) -> list[Difference]:
    """Compare what the paths to a model make of the same records.

    The tensors that the label job gives to the network are compared with those that the preprocess job writes and
    training reads ("tensors/…"), and so is what the network makes of both ("outputs/…"). The rows of the label job are
    compared with those of `model.label` in Python ("rows/…": how many differ).

    Args:
        model: that they go through.
        job_input: where they come from.
        count: of records, the first ones that can be decoded.

    Raises:
        MmstreamError: none can.
    """
    media = job_input.media()
    items = (check_row(row, job_input) for row in rows_of(job_input, pieces_of(job_input)))
    sound = (item for item in first_of_each(islice(items, 10 * count))[0] if _can_be_decoded(item, model, media))
    records = list(islice(sound, count))
    if not records:
        raise MmstreamError(f"no record of {job_input.path} can be decoded, so nothing can be compared")
    with tempfile.TemporaryDirectory(prefix="mmstream-") as folder, Workers(2) as workers:
        in_training = _through_preprocessing(model, records, media, folder, workers)
        found = golden.compare(in_training, _through_labelling(model, records, media))
        return [*found, *_rows(model, records, media, folder, workers)]


def _can_be_decoded(record: Record, model: TrainedModel, media: Media) -> bool:
    loaded = model.preprocessor.load(record, media)
    try:
        return loaded.error is None and any(
            value is not None for value in model.preprocessor.decode(loaded.values).values()
        )
    except RecordError:
        return False


def _through_labelling(model: TrainedModel, records: Sequence[Record], media: Media) -> dict[str, np.ndarray]:
    preprocessor = model.preprocessor
    decoded = [preprocessor.decode(preprocessor.load(record, media).values) for record in records]
    batches = []
    for start in range(0, len(records), model.batch):
        some = decoded[start : start + model.batch]
        batches.append(_arrays(model, preprocessor.tensors(some, model.batch), len(some)))
    return _joined(batches)


def _through_preprocessing(
    model: TrainedModel, records: Sequence[Record], media: Media, folder: str, workers: Workers
) -> dict[str, np.ndarray]:
    """As `mmstream preprocess` writes them and training reads them, in the order of the records."""
    only = list(model.preprocessor.fields)
    preprocessor = Preprocessor(model.config.fields, files.join(model.path, "transform"), only=only)
    preprocess_part(
        0,
        records,
        preprocessor=preprocessor,
        split=_TRAIN_ALL,
        fingerprint="",
        media=media,
        output=folder,
        parts_count=1,
        holder="",
        golden=0,
        workers=workers,
    )
    shards = examples.shards_of(folder, "train")
    batches = []
    for batch in examples.batches(shards, preprocessor.specs, model.batch).as_numpy_iterator():
        count = len(next(iter(next(iter(batch.values())).values())))
        padded = {
            field: {name: _padded(value, model.batch) for name, value in tensors.items()}
            for field, tensors in batch.items()
        }
        batches.append(_arrays(model, padded, count))
    return _joined(batches)


def _rows(
    model: TrainedModel, records: Sequence[Record], media: Media, folder: str, workers: Workers
) -> list[Difference]:
    sink = components.build("sink", "parquet", {})
    output = str(Path(folder) / "labelled")
    draft = Draft.of(
        *(0, records),
        input_number=0,
        model=model,
        media=media,
        sink=sink,
        output=output,
        parts_count=1,
        run="",
        workers=workers,
    )
    label_drafts([draft], model=model, media=media, prune=False, workers=workers)
    of_job = {row["id"]: row for row in read_part(output, 0, sink, model.schema).rows}
    given = [{"id": record.id, **_with_bytes(record, model, media)} for record in records]
    in_python = {row["id"]: row for row in model.label(given, threads=2) if isinstance(row, dict)}
    found = []
    for head in model.heads:
        differ = sum(of_job.get(r.id, {}).get(head) != in_python.get(r.id, {}).get(head) for r in records)
        found.append(Difference(f"rows/{head}", float(differ), 0.0, differ == 0))
    return found


def _with_bytes(record: Record, model: TrainedModel, media: Media) -> dict[str, Any]:
    """The columns of a record as a Python user may give them: media as bytes."""
    columns = dict(record.columns)
    for name, field in model.preprocessor.fields.items():
        for column in model.preprocessor.columns[name] if field.media else ():
            if columns.get(column) is not None:
                columns[column] = media.read(columns[column], field.max_bytes)
    return columns


def _arrays(model: TrainedModel, tensors: Mapping[str, Mapping[str, np.ndarray]], count: int) -> dict[str, np.ndarray]:
    outputs = model.predict({field: dict(arrays) for field, arrays in tensors.items()})
    found = {f"tensors/{name}": value[:count] for name, value in golden.flatten(tensors)}
    return {**found, **{f"outputs/{name}": value[:count] for name, value in golden.flatten(outputs)}}


def _joined(batches: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])
