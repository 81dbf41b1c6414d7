"""Labelling: records in, label rows or dead letters out. Without Beam; everything that labels comes through here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmstream.errors import RecordError, describe, is_out_of_memory
from mmstream.interfaces import LabelType
from mmstream.preprocessing.decoding import decode_loaded
from mmstream.preprocessing.lookups import Lookups
from mmstream.preprocessing.preprocessor import PRESENT, Decoded
from mmstream.records.media import Media
from mmstream.records.record import DeadLetter, Record, dead_letter
from mmstream.runtime import alive
from mmstream.runtime.concurrency import ThreadPool, batched
from mmstream.supervision import worker
from mmstream.trained_model.protocol import Model

Result = tuple[Record, "dict[str, Any] | DeadLetter"]


def label_records(
    records: Iterable[Record],
    model: Model,
    media: Media,
    *,
    pool: ThreadPool,
    lookups: Lookups | None = None,
) -> Iterator[Result]:
    """Label records, in order, with threads that each read, decode and predict whole batches.

    Args:
        records: may be endless; only a few batches are read ahead.
        model: the model that labels.
        media: where the records' files may lie.
        pool: threads that read, decode and predict.
        lookups: counts which values are in the vocabularies; None to count nothing.

    Yields:
        (record, label row or dead letter).
    """
    batches = batched(records, model.batch)
    for results in pool.in_order(lambda batch: label_batch(batch, model, media, lookups), batches):
        yield from results


def label_items(
    items: Sequence[Record | DeadLetter],
    model: Model,
    media: Media,
    *,
    pool: ThreadPool,
    lookups: Lookups | None = None,
) -> Iterator[dict[str, Any] | DeadLetter]:
    """A label row or dead letter for each item, in order; an item that is a dead letter stays one."""
    records = (item for item in items if isinstance(item, Record))
    labelled = label_records(records, model, media, pool=pool, lookups=lookups)
    for item in items:
        yield next(labelled)[1] if isinstance(item, Record) else item


def label_batch(records: Sequence[Record], model: Model, media: Media, lookups: Lookups | None = None) -> list[Result]:
    """Label some records; a bad one becomes a dead letter and does not affect the others."""
    with worker.holding(records):
        return _label_batch(records, model, media, lookups)


def _label_batch(records: Sequence[Record], model: Model, media: Media, lookups: Lookups | None) -> list[Result]:
    results: list[dict[str, Any] | DeadLetter | None] = []
    good: list[tuple[int, str, Decoded]] = []  # only the digest: all that was read would fill the memory
    for index, record in enumerate(records):
        loaded = model.preprocessor.load(record, media)
        results.append(None)
        alive.progress()
        try:
            decoded = decode_loaded(loaded, model.preprocessor)
        except RecordError as error:
            results[index] = dead_letter(record, error, loaded.digest, model.fingerprint)
        else:
            good.append((index, loaded.digest, decoded))
    for index, row in _predict(good, records, model):
        results[index] = row
    if good and lookups:
        lookups.add(model.preprocessor, [decoded for _, _, decoded in good])
    return [(record, result) for record, result in zip(records, results, strict=True) if result is not None]


def _predict(
    good: Sequence[tuple[int, str, Decoded]], records: Sequence[Record], model: Model
) -> Iterator[tuple[int, dict[str, Any] | DeadLetter]]:
    """Predict rows for decoded records; a batch that fails is halved until only the bad record is left."""
    if not good:
        return
    model.prepare()
    size = model.batch
    if len(good) > size:  # the batch has become smaller since
        yield from _predict(good[:size], records, model)
        yield from _predict(good[size:], records, model)
        return
    try:
        tensors = model.preprocessor.tensors([decoded for _, _, decoded in good], size)
        outputs = model.predict(tensors)
        rows = model.rows(outputs, len(good))
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error) and size > 1:
            model.halve_batch(size)
        if model.batch != size:  # halved, by this thread or another: these tensors are too many now
            yield from _predict(good, records, model)
            return
        if isinstance(error, MemoryError):
            raise  # the record that it struck need not be the one that fills the memory
        if len(good) > 1:
            middle = len(good) // 2
            yield from _predict(good[:middle], records, model)
            yield from _predict(good[middle:], records, model)
            return
        index, digest, _ = good[0]
        failure = RecordError(describe(error), stage="predict", error=type(error).__name__)
        yield index, dead_letter(records[index], failure, digest, model.fingerprint)
        return
    finite = _finite(outputs, len(good))
    for (index, digest, _), row, sound in zip(good, rows, finite, strict=True):
        record = records[index]
        if not sound:
            failure = RecordError("the network's outputs are not finite", stage="predict", error="NotFinite")
        elif all(row[head] is None for head in model.heads):
            failure = RecordError("no head could read the record", stage="predict", error="NothingToRead")
        else:
            about = {"_fingerprint": model.fingerprint, "_digest": digest, "_origin": record.origin}
            yield index, {"id": record.id, **row, **about}
            continue
        yield index, dead_letter(record, failure, digest, model.fingerprint)


def columns_of(
    heads: Mapping[str, Mapping[str, Any]], embeddings: Collection[str], *, fused: bool
) -> dict[str, LabelType]:
    """Columns of a label row, with their types.

    Args:
        heads: as model.json describes them.
        embeddings: fields whose embeddings are given.
        fused: whether the fused vector is given.
    """
    columns: dict[str, LabelType] = {"id": "string"}
    for name, head in heads.items():
        columns[name] = head["label"]
        columns[f"{name}_score"] = head["score"]
        columns |= {f"{name}_match": "number"} if head["match"] else {}
    columns |= {f"embedding_{field}": "numbers" for field in sorted(embeddings)}
    columns |= {"embedding": "numbers"} if fused else {}
    return {**columns, "_fingerprint": "string", "_digest": "string", "_origin": "string"}


def rows_of(model: Model, outputs: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The first `count` rows of a network's outputs as label rows, without id, fingerprint, digest and origin.

    The label and score of a head are None if all its fields are absent.
    """
    rows: list[dict[str, Any]] = [{} for _ in range(count)]
    for name in model.heads:
        predictions = {key: value[:count] for key, value in outputs["heads"][name].items()}
        decoded = model.head(name).decode(predictions, model.fitted(name), model.calibration[name])
        present = outputs[PRESENT][name]
        for row, (label, score), there in zip(rows, decoded, present, strict=False):
            row[name], row[f"{name}_score"] = (label, score) if there else (None, None)
        for row, match, there in zip(rows, predictions.get("match", ()), present, strict=False):
            row[f"{name}_match"] = float(match) if there and match else None
    for field, vectors in outputs.get("embeddings", {}).items():
        for row, vector in zip(rows, vectors, strict=False):
            row[f"embedding_{field}"] = vector.tolist()
    for row, vector in zip(rows, outputs.get("fused", ()), strict=False):
        row["embedding"] = vector.tolist()
    return rows


def _finite(outputs: Mapping[str, Any], count: int) -> np.ndarray:
    """bool[count]: whether all outputs for a row are finite numbers."""
    sound = np.ones(count, bool)
    for value in outputs.values():
        if isinstance(value, Mapping):
            sound &= _finite(value, count)
        elif value.dtype.kind == "f":
            sound &= np.isfinite(value[:count]).all(axis=tuple(range(1, value.ndim)))
    return sound
