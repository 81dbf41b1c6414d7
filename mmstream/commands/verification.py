"""Sends the user's records along every path to a model, and measures how far the results differ."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mmstream.config.schema import SplitConfig
from mmstream.errors import MmstreamError, RecordError
from mmstream.inputs.input import Input, pieces_of, rows_of
from mmstream.inputs.items import check_row, first_of_each
from mmstream.outputs.drafts import Draft, label_drafts
from mmstream.outputs.example_parts import preprocess_part
from mmstream.outputs.label_part import read_part
from mmstream.plugins import components
from mmstream.preprocessing import examples, golden
from mmstream.preprocessing.decoding import decode_loaded
from mmstream.preprocessing.golden import Difference
from mmstream.preprocessing.padding import padded_to
from mmstream.preprocessing.preprocessor import Preprocessor
from mmstream.records.media import Media
from mmstream.records.record import Record
from mmstream.runtime.concurrency import ThreadPool
from mmstream.storage import files
from mmstream.trained_model.artefact import TrainedModel

_TRAIN_ALL = SplitConfig(validation=0.0, test=0.0)


def verify_records(model: TrainedModel, job_input: Input, count: int) -> list[Difference]:
    """Compare the results that the paths to a model give for the same records.

    The tensors that the label job gives to the network are compared with those that the preprocess job writes and
    training reads ("tensors/…"), and so are the network's outputs for both ("outputs/…"). The rows of the label job are
    compared with those of `model.label` in Python ("rows/…": how many differ).

    Args:
        model: the model that they go through.
        job_input: where the records come from.
        count: number of records; the first that can be decoded are used.

    Raises:
        MmstreamError: no record can be decoded.
    """
    media = job_input.media()
    items = (check_row(row, job_input) for row in rows_of(job_input, pieces_of(job_input)))
    sound = (item for item in first_of_each(islice(items, 10 * count))[0] if _can_be_decoded(item, model, media))
    records = list(islice(sound, count))
    if not records:
        raise MmstreamError(f"no record of {job_input.path} can be decoded, so nothing can be compared")
    with tempfile.TemporaryDirectory(prefix="mmstream-") as folder, ThreadPool(2) as pool:
        in_training = _through_preprocessing(model, records, media, folder, pool)
        differences = golden.compare(in_training, _through_labelling(model, records, media))
        return [*differences, *_rows(model, records, media, folder, pool)]


def _can_be_decoded(record: Record, model: TrainedModel, media: Media) -> bool:
    try:
        decode_loaded(model.preprocessor.load(record, media), model.preprocessor)
    except RecordError:
        return False
    return True


def _through_labelling(model: TrainedModel, records: Sequence[Record], media: Media) -> dict[str, np.ndarray]:
    preprocessor = model.preprocessor
    decoded = [preprocessor.decode(preprocessor.load(record, media).values) for record in records]
    batches = []
    for start in range(0, len(records), model.batch):
        some = decoded[start : start + model.batch]
        batches.append(_arrays(model, preprocessor.tensors(some, model.batch), len(some)))
    return _joined(batches)


def _through_preprocessing(
    model: TrainedModel, records: Sequence[Record], media: Media, folder: str, pool: ThreadPool
) -> dict[str, np.ndarray]:
    """The records as `mmstream preprocess` writes them and training reads them, in the given order."""
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
        pool=pool,
    )
    shards = examples.shards_of(folder, "train")
    batches = []
    for batch in examples.batches(shards, preprocessor.specs, model.batch).as_numpy_iterator():
        count = len(next(iter(next(iter(batch.values())).values())))
        batches.append(_arrays(model, padded_to(model.batch, batch), count))
    return _joined(batches)


def _rows(
    model: TrainedModel, records: Sequence[Record], media: Media, folder: str, pool: ThreadPool
) -> list[Difference]:
    sink = components.build("sink", "parquet", {})
    output = str(Path(folder) / "labelled")
    draft = Draft.of(
        0,
        records,
        input_number=0,
        model=model,
        media=media,
        sink=sink,
        output=output,
        parts_count=1,
        run="",
        pool=pool,
    )
    label_drafts([draft], model=model, media=media, prune=False, pool=pool)
    of_job = {row["id"]: row for row in read_part(output, 0, sink, model.schema).rows}
    rows = [{"id": record.id, **_with_bytes(record, model, media)} for record in records]
    in_python = {row["id"]: row for row in model.label(rows, threads=2) if isinstance(row, dict)}
    differences = []
    for head in model.heads:
        differ = sum(of_job.get(r.id, {}).get(head) != in_python.get(r.id, {}).get(head) for r in records)
        differences.append(Difference(f"rows/{head}", float(differ), 0.0, differ == 0))
    return differences


def _with_bytes(record: Record, model: TrainedModel, media: Media) -> dict[str, Any]:
    """The columns of a record as a Python user may give them: media as bytes."""
    columns = dict(record.columns)
    for name, field in model.preprocessor.fields.items():
        for column in model.preprocessor.columns[name] if field.media else ():
            if columns.get(column) is not None:
                columns[column] = model.preprocessor.read_media(name, columns[column], media, record.origin)
    return columns


def _arrays(model: TrainedModel, tensors: Mapping[str, Mapping[str, np.ndarray]], count: int) -> dict[str, np.ndarray]:
    outputs = model.predict({field: dict(arrays) for field, arrays in tensors.items()})
    arrays = {f"tensors/{name}": value[:count] for name, value in golden.flatten(tensors)}
    return {**arrays, **{f"outputs/{name}": value[:count] for name, value in golden.flatten(outputs)}}


def _joined(batches: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
